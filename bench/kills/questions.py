"""The calls of a kill run: what is asked under each key, all of it from one seed."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nagaya.artifacts.v1 import artifact_pb2
from nagaya.llm_gateway.v1 import call_pb2, generation_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

STEP = "draft"
LARGE = 47_000
FILE = json.dumps({"text": "what was found out: " + "0123456789 " * 40, "list": [1, 2.5, "three"]})
_SCHEMA = {
    "type": "object",
    "properties": {"serial": {"type": "integer"}, "text": {"type": "string"}},
    "required": ["serial", "text"],
    "additionalProperties": False,
}
_PROMPT_CHARACTERS = 600


@dataclass(frozen=True, slots=True)
class Question:
    """One key, and how it is asked."""

    tenant_id: str
    spec: generation_pb2.GenerationSpec
    prompt: str
    """What the provider has to be asked, its files included."""
    streamed: bool
    raced: bool
    """Whether both gateways are asked at the same moment."""

    replied: bool
    """Whether the reply's bytes are asked for with the call, where it is not streamed."""

    @property
    def name(self) -> str:
        """The key, as the ledger's audit entries and a provider's headers name it."""
        return name_of(self.spec.key)

    @property
    def structured(self) -> bool:
        return bool(self.spec.output_schema_json)

    @property
    def redone(self) -> bool:
        """Whether the call is to be sent again when an attempt's outcome is unknown."""
        return self.spec.unknown_policy == generation_pb2.UNKNOWN_POLICY_REDO


def name_of(key: call_pb2.CallKey) -> str:
    return f"{key.run_id}/{key.step}/{key.item}-{key.visit}/{key.call}"


def questions(
    seed: int, count: int, runs: Sequence[tuple[str, str, Mapping[str, str]]]
) -> list[Question]:
    """Return so many questions, spread over runs: each a tenant, a run, and a file of it.

    Half are to be redone when an outcome is unknown; two fifths are streamed, a quarter raced, a
    fifth have a schema, a tenth get a large reply, a seventh read a file, one in 100 is refused at
    first. Half of the replies come at once, the others within 400 ms.
    """
    return [_question(random.Random(f"{seed} {n}"), n, *runs[n % len(runs)]) for n in range(count)]  # noqa: S311 - to be repeatable


def _question(
    chance: random.Random, number: int, tenant_id: str, run_id: str, file: Mapping[str, str]
) -> Question:
    size = LARGE if chance.random() < 0.1 else chance.randint(60, 400)
    delay = chance.choice((0, 0, 0, 0, 0, 10, 20, 40, 80, 400))
    fail = int(chance.random() < 0.01)
    text = f"kills[size={size} delay={delay} fail={fail}] Number {number}: "
    text = text.ljust(_PROMPT_CHARACTERS, "x")
    parts = [generation_pb2.Part(text=text)]
    if chance.random() < 0.15:
        for pointer in ("", "/text"):
            found = artifact_pb2.ArtifactPointer(**file, json_pointer=pointer)
            parts.append(generation_pb2.Part(pointer=found))
        text += FILE + json.loads(FILE)["text"]
    redo = chance.random() < 0.5
    message = generation_pb2.Message(role=generation_pb2.ROLE_USER, parts=parts)
    spec = generation_pb2.GenerationSpec(
        key=call_pb2.CallKey(run_id=run_id, step=STEP, item=number, visit=1, call=1),
        messages=[message],
        unknown_policy=(
            generation_pb2.UNKNOWN_POLICY_REDO if redo else generation_pb2.UNKNOWN_POLICY_FAIL
        ),
        output_schema_json=json.dumps(_SCHEMA) if chance.random() < 0.2 else "",
    )
    streamed, raced, replied = (chance.random() < share for share in (0.4, 0.25, 0.5))
    return Question(tenant_id, spec, text, streamed, raced, replied)
