"""What the costliest requests take of the loop, in CPU time, from their bytes to the first wait.

A busy machine is a slow one, also in CPU time. So the limit is a multiple of what plain Python
takes for a fixed job at the same moment.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import struct_pb2

from interceptor import fields
from llm_gateway.providers.schemas import for_claude, for_gemini, is_strict
from llm_gateway.wire.generation import request_of
from nagaya.llm_gateway.v1 import call_pb2, generation_pb2, generation_service_pb2
from nagaya.runs.v1 import (
    pipeline_pb2,
    pipeline_service_pb2,
    prompt_service_pb2,
    run_service_pb2,
    schedule_pb2,
    schedule_service_pb2,
)
from runs.domain.drafts import PipelineDraft
from runs.domain.prompts import PromptDraft
from runs.wire import pipelines, runs, schedules
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


def input_text(text: str) -> Case:
    request = run_service_pb2.CreateRunRequest(
        tenant_id="acme", request_id="r1", pipeline="p", inline_json=text
    )
    return request, runs.run_draft


def schedule(cron: str, time_zone: str = "") -> Case:
    spec = schedule_pb2.ScheduleSpec(pipeline="p", cron=cron, time_zone=time_zone, inline_json="{}")
    request = schedule_service_pb2.CreateScheduleRequest(tenant_id="acme", schedule="s", spec=spec)
    return request, lambda message: schedules.schedule_spec(message.spec).times.violations()


def fork() -> Case:
    request = run_service_pb2.ForkRunRequest(
        tenant_id="acme", request_id="r1", run_id=RUN, from_step="a", items=range(1, 1_001)
    )
    request.inline_json = "[" + "1," * 100_000 + "1]"
    return request, runs.fork_draft


def arguments(text: str, steps: int) -> Case:
    made = [function(name) for name in SHORT[:steps]]
    for step in made:
        step.function.arguments_json = text
    return pipeline(made)


def asked_for(definition: dict[str, Any]) -> Case:
    """A schema of a reply, up to what each provider is sent of it."""
    key = call_pb2.CallKey(run_id=RUN, step="a", visit=1, call=1)
    text = json.dumps(definition, separators=(",", ":"))
    spec = generation_pb2.GenerationSpec(key=key, output_schema_json=text)
    spec.messages.add(role=generation_pb2.ROLE_USER).parts.add(text="a")
    request = generation_service_pb2.GenerateRequest(tenant_id="acme", spec=spec)

    def take(message: generation_service_pb2.GenerateRequest) -> None:
        schema = request_of("acme", message.spec).output_schema
        assert schema is not None
        for send in (for_claude, for_gemini, is_strict):
            send(schema.definition)

    return request, take


def closed(properties: dict[str, Any]) -> dict[str, Any]:
    named = {"properties": properties, "required": list(properties)}
    return {"type": "object", **named, "additionalProperties": False}


def all_of(count: int, references: int) -> dict[str, Any]:
    large = closed({f"p{number}": {"type": "string"} for number in range(count)})
    return {"allOf": [{"$ref": "#/$defs/x"}] * references, "$defs": {"x": large}}


def doubled(keyword: str, levels: int = 24) -> dict[str, Any]:
    """A schema that leads to twice as many places with each level."""
    leaf = {"type": "string", "maxLength": 3}
    definitions = {
        f"d{level}": {keyword: [{"$ref": f"#/$defs/d{level + 1}"}] * 2} for level in range(levels)
    }
    return {"$defs": definitions | {f"d{levels}": leaf}, "$ref": "#/$defs/d0"}


def many_references(count: int) -> dict[str, Any]:
    places = {f"p{number}": {"$ref": f"#/$defs/d{number}"} for number in range(count)}
    return closed(places) | {"$defs": {f"d{n}": {"type": "string"} for n in range(count)}}


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
    "an input that is nested without end": input_text("[" * 131_072),
    "an input of one number": input_text("1" * 262_144),
    "an input of long numbers": input_text("[" + ",".join(["9" * 4_000] * 65) + "]"),
    "an input of exponents": input_text("[" + "1e-99999999," * 20_000 + "1]"),
    "an input of half characters": input_text('["' + "\\ud800" * 40_000 + '"]'),
    "an input of one name": input_text("{" + ",".join(['"a":1'] * 43_000) + "}"),
    "an input of names": input_text("{" + ",".join(f'"{n:x}":1' for n in range(28_000)) + "}"),
    "an input of quotes": input_text('"' + '\\"' * 130_000),
    "a time that never comes": schedule("0 0 30 2 *", "America/New_York"),
    "a time of many numbers": schedule(",".join(map(str, range(60))) + " * 29 2 *"),
    "elements of a fork": fork(),
    "arguments that are nested": arguments("[" * 4_000 + "]" * 4_000, 200),
    "arguments of names": arguments(
        "{" + ",".join(f'"{number:x}":1' for number in range(900)) + "}", 60
    ),
    "braces": prompt("{" * 262_144),
    "half placeholders": prompt("{{a" * 80_000),
    "space in placeholders": prompt(("{{" + " " * 100) * 2_500),
    "a schema of large parts": asked_for(all_of(1_500, 60)),
    "a schema that doubles by anyOf": asked_for(doubled("anyOf")),
    "a schema that doubles by allOf": asked_for(doubled("allOf")),
    "a schema of references": asked_for(many_references(900)),
    "a schema of an enum": asked_for({"enum": [f"{number:x}" for number in range(8_000)]}),
    "a schema within itself": asked_for(closed({f"p{n}": {"$ref": "#"} for n in range(1_300)})),
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
