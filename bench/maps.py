"""Maps beside the build of a former commit.

That build is checked out, installed and started in a temporary folder, and ours is started in
another. Both stacks are up at once and are asked in turn; their models are played by one mock that
answers at once. A run counts from CreateRun until GetRun says that it has completed.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
import uuid
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from google.protobuf import json_format

from bench import measure, part
from bench.former import COMMIT, former_build
from bench.goals import Goals, ratio, spread
from bench.mock import Mock
from bench.ours import MODEL, TENANT, ask_mock
from bench.pipelines import create_prompt
from bench.stack import create_tenant, our_stack
from nagaya.llm_gateway.v1 import model_pb2
from nagaya.runs.v1 import pipeline_pb2, pipeline_service_pb2, run_pb2, run_service_pb2
from nagaya_client.client import Client
from nagaya_client.settings import local_stack_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

_OPEN = (run_pb2.RUN_STATE_PENDING, run_pb2.RUN_STATE_RUNNING, run_pb2.RUN_STATE_PAUSED)


@dataclass(frozen=True, slots=True)
class Kind:
    """A pipeline with mapped steps, and how many elements are mapped."""

    name: str
    elements: int
    steps: Sequence[pipeline_pb2.StepSpec]
    rounds: int
    goal: float | None
    """How many times as fast as the former build it has to be."""

    @property
    def pipeline(self) -> str:
        return self.name.replace(" ", "-")


def _function(
    step: str, after: str, *, short: bool = False, by_element: bool = False
) -> pipeline_pb2.StepSpec:
    function = pipeline_pb2.FunctionStep(
        function="constant", short=short, element_outputs=[after] if by_element else []
    )
    over = pipeline_pb2.MapSpec(step="input")
    return pipeline_pb2.StepSpec(step=step, needs=[after], map=over, function=function)


def _llm(step: str, needs: Sequence[str], text: pipeline_pb2.Binding) -> pipeline_pb2.StepSpec:
    return pipeline_pb2.StepSpec(
        step=step,
        needs=needs,
        map=pipeline_pb2.MapSpec(step="input"),
        llm=pipeline_pb2.LlmStep(
            bindings=[text],
            model=model_pb2.ModelChoice(model_id=MODEL),
            max_output_tokens=2000,
        ),
    )


# Of every invoice the text is extracted, what was extracted is checked, and it is booked.
_ELEMENT = pipeline_pb2.Binding(variable="text", element=pipeline_pb2.ElementRef())
_EXTRACTED = pipeline_pb2.Binding(
    variable="text", element_output=pipeline_pb2.OutputRef(step="extract")
)
INVOICE = (
    _llm("extract", ["input"], _ELEMENT),
    _llm("check", ["input", "extract"], _EXTRACTED),
    _function("book", "check", by_element=True),
)
KINDS = (
    Kind("short", 100, [_function("each", "input", short=True)], rounds=5, goal=None),
    Kind("short", 1_000, [_function("each", "input", short=True)], rounds=3, goal=8.0),
    Kind("function", 100, [_function("each", "input")], rounds=5, goal=8.0),
    Kind("invoice", 300, INVOICE, rounds=2, goal=3.0),
)


async def main() -> int:
    async with AsyncExitStack() as blocks:
        folder = Path(blocks.enter_context(tempfile.TemporaryDirectory(prefix="nagaya-bench-")))
        mock = Mock(folder / "mock")
        await blocks.enter_async_context(measure.process(mock, folder / "mock.log"))
        clone = await blocks.enter_async_context(former_build(folder))
        former = Client.connect(local_stack_settings(clone))
        stack = await blocks.enter_async_context(our_stack())
        ours = Client.connect(local_stack_settings(stack.layout.root))
        for client in (former, ours):
            blocks.push_async_callback(client.close)
            await _prepare(client, mock, former=client is former)
        return await _compare(former, ours)


async def _compare(former: Client, ours: Client) -> int:
    goals = Goals()
    for kind in KINDS:
        times: dict[Client, list[float]] = {former: [], ours: []}
        for client in times:
            await _seconds(client, kind, 10)  # warms up
        for number in range(kind.rounds):
            for client in measure.in_turn(tuple(times), number):
                times[client].append(await _seconds(client, kind, kind.elements))
        _judge(goals, kind, times[ours], times[former])
    return goals.exit_code


def _judge(goals: Goals, kind: Kind, ours: Sequence[float], former: Sequence[float]) -> None:
    figure = f"map, {kind.elements:,} elements, {kind.name}"
    if len(kind.steps) > 1:
        figure += f", {len(kind.steps)} mapped steps"
    times = ratio(former, ours)
    cells = (spread(ours, "s", 2), f"{COMMIT} {spread(former, 's', 2)}")
    if kind.goal is None:
        goals.shown(figure, *cells, times)
    else:
        goals.at_least(figure, times, kind.goal, *cells)


async def _seconds(client: Client, kind: Kind, elements: int) -> float:
    """Do a run and return how long it took. Raises RuntimeError if it fails."""
    request = run_service_pb2.CreateRunRequest(
        tenant_id=TENANT, request_id=uuid.uuid4().hex, pipeline=kind.pipeline
    )
    json_format.Parse(json.dumps([f"element {n}" for n in range(elements)]), request.inline)
    began = time.monotonic()
    run = (await client.runs.CreateRun(request)).run
    get = run_service_pb2.GetRunRequest(tenant_id=TENANT, run_id=run.run_id)
    while run.state in _OPEN:
        await asyncio.sleep(0.02)
        run = (await client.runs.GetRun(get)).run
    if run.state != run_pb2.RUN_STATE_COMPLETED:
        raise RuntimeError(f"a run of {kind.pipeline} failed: {run.error.message}")
    return time.monotonic() - began


async def _prepare(client: Client, mock: Mock, *, former: bool) -> None:
    await create_tenant(client, TENANT)
    await ask_mock(client, mock)
    for step in INVOICE:
        if step.HasField("llm"):
            await create_prompt(client, step.step)
    for kind in {kind.pipeline: kind for kind in KINDS}.values():
        await client.pipelines.CreatePipelineVersion(
            pipeline_service_pb2.CreatePipelineVersionRequest(
                tenant_id=TENANT,
                request_id=kind.pipeline,
                pipeline=kind.pipeline,
                spec=pipeline_pb2.PipelineSpec(
                    steps=map(_of_former_build, kind.steps) if former else kind.steps
                ),
            )
        )


def _of_former_build(step: pipeline_pb2.StepSpec) -> pipeline_pb2.StepSpec:
    """Return a step without what that build does not know: there all functions wait for all."""
    known = pipeline_pb2.StepSpec()
    known.CopyFrom(step)
    if step.HasField("function"):
        known.function.ClearField("element_outputs")
    return known


if __name__ == "__main__":
    part.run(main)
