"""What the costliest requests take of the loop, in CPU time, from their bytes to the first wait.

A busy machine is a slow one, also in CPU time. So the limit is a multiple of what plain Python
takes for a fixed job at the same moment.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import struct_pb2

from interceptor import fields
from llm_gateway.wire.generation import request_of
from nagaya.llm_gateway.v1 import call_pb2, generation_pb2, generation_service_pb2
from nagaya.runs.v1 import (
    pipeline_pb2,
    pipeline_service_pb2,
    prompt_service_pb2,
    run_service_pb2,
)
from runs.domain.drafts import PipelineDraft
from runs.domain.prompts import PromptDraft
from runs.wire import pipelines, runs
from servicekit.errors import DomainError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from google.protobuf.message import Message

    Case = tuple[Message, Callable[[Any], object]]

JOB = 40_000  # names
LIMIT = 14  # jobs: 0.25 s on an idle machine, where a job takes 18 ms
RUN = "0192f5a0-0000-7000-8000-000000000001"


def pipeline(steps: Sequence[pipeline_pb2.StepSpec]) -> Case:
    spec = pipeline_pb2.PipelineSpec(steps=steps)
    request = pipeline_service_pb2.CreatePipelineVersionRequest(
        tenant_id="acme", request_id="r1", pipeline="p", spec=spec
    )

    def take(message: pipeline_service_pb2.CreatePipelineVersionRequest) -> None:
        draft = PipelineDraft.parse("p", pipelines.pipeline_spec(message.spec), pipelines.document)
        pipelines.from_document(draft.document)

    return request, take


def nested_maps() -> list[pipeline_pb2.StepSpec]:
    """Steps that are mapped over each other, and need as many as may be."""
    steps: list[pipeline_pb2.StepSpec] = []
    for number, name in enumerate(SHORT):
        before = SHORT[max(0, number - 64) : number]
        over = before[-1] if before else "input"
        step = pipeline_pb2.StepSpec(step=name, needs=before, map=pipeline_pb2.MapSpec(step=over))
        for bound in before[:5]:
            binding = step.llm.bindings.add(variable=bound)
            binding.element_output.step = bound
        step.map.when = ("!skipped(s0)&&" * 30)[:480] + "true" if "s0" in before else ""
        step.llm.SetInParent()
        steps.append(step)
    return steps


def function(name: str, needs: Sequence[str] = (), when: str = "") -> pipeline_pb2.StepSpec:
    kind = pipeline_pb2.FunctionStep(function="copy")
    return pipeline_pb2.StepSpec(step=name, needs=needs, when=when, function=kind)


def llm_step(name: str, bindings: int) -> pipeline_pb2.StepSpec:
    bound = [pipeline_pb2.Binding(variable=f"v{number}", text="x") for number in range(bindings)]
    return pipeline_pb2.StepSpec(step=name, llm=pipeline_pb2.LlmStep(bindings=bound))


def structured() -> pipeline_pb2.StepSpec:
    step = pipeline_pb2.StepSpec(step="a", llm=pipeline_pb2.LlmStep())
    step.llm.output_schema.update(schema(1_600))
    return step


def schema(properties: int) -> dict[str, Any]:
    names = [f"p{number}" for number in range(properties)]
    return {"properties": {name: {"type": "string", "maxLength": 4} for name in names}}


def run(values: int) -> Case:
    request = run_service_pb2.CreateRunRequest(tenant_id="acme", request_id="r1", pipeline="p")
    nothing = struct_pb2.Value(null_value=struct_pb2.NULL_VALUE)
    request.inline.list_value.values.extend([nothing] * values)
    return request, runs.run_draft


def prompt(content: str) -> Case:
    request = prompt_service_pb2.CreatePromptVersionRequest(
        tenant_id="acme", request_id="r1", step="a", content=content
    )
    return request, lambda message: PromptDraft.parse(message.step, message.content)


def generation(messages: int, parts: int, properties: int = 0) -> Case:
    part = generation_pb2.Part(text="a")
    message = generation_pb2.Message(role=generation_pb2.ROLE_USER, parts=[part] * parts)
    key = call_pb2.CallKey(run_id=RUN, step="a", visit=1, call=1)
    spec = generation_pb2.GenerationSpec(key=key, messages=[message] * messages)
    if properties:
        spec.output_schema.update(schema(properties))
    request = generation_service_pb2.GenerateRequest(tenant_id="acme", spec=spec)
    return request, lambda message: request_of("acme", message.spec).digest


NAMES = [f"s{number:060}" for number in range(200)]
SHORT = [f"s{number}" for number in range(200)]
COSTLY: dict[str, Case] = {
    "needs that are steps": pipeline(
        [function(name, NAMES[max(0, n - 64) : n]) for n, name in enumerate(NAMES)]
    ),
    "needs that are no steps": pipeline(
        [function(name, [f"x{n:030}y{m:029}" for m in range(64)]) for n, name in enumerate(NAMES)]
    ),
    "needs of each other": pipeline([function(name, SHORT[:64]) for name in SHORT]),
    "bindings": pipeline([llm_step(name, 64) for name in SHORT]),
    "bindings that may be": pipeline([llm_step(name, 5) for name in SHORT]),
    "a schema in a pipeline": pipeline([structured()]),
    "conditions": pipeline(
        [function("r"), *(function(n, ["r"], ("r.s<8&&" * 70)[:488] + "r.s<8") for n in SHORT[1:])]
    ),
    "maps over maps": pipeline(nested_maps()),
    "JSON values": run(240_000),
    "JSON values that may be": run(30_000),
    "placeholders": prompt("{{a}}\n" * 43_000),
    "variables": prompt("".join(f"{{{{a{number}}}}}" for number in range(25_000))),
    "parts": generation(256, 256),
    "parts that may be": generation(50, 190),
    "a schema for a reply": generation(1, 1, 1_600),
}


def seconds(request: Message, take: Callable[[Any], object]) -> float:
    raw = request.SerializeToString()
    began = time.process_time()
    message = type(request).FromString(raw)
    if not fields.find_excess(message, len(raw)) and not fields.find_violations(message, len(raw)):
        with suppress(DomainError):  # a refusal costs, too
            take(message)
    return time.process_time() - began


def job_seconds() -> float:
    """Return the CPU time of what the costly requests do too: look up, compare, make objects."""
    began = time.process_time()
    known: dict[str, int] = {}
    for number in range(JOB):
        name = f"s{number % 977}"
        known[name] = max(known.get(name, 0), number)
    return time.process_time() - began


@pytest.mark.parametrize("name", COSTLY)
def test_no_request_takes_the_loop_for_long(name: str) -> None:
    request, take = COSTLY[name]

    assert min(seconds(request, take) / job_seconds() for _ in range(4)) < LIMIT
