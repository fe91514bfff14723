from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from temporalio import activity, workflow
from temporalio.client import WorkflowExecutionStatus
from temporalio.worker import UnsandboxedWorkflowRunner, Worker
from tests.support.runs_service import NOWHERE, launcher_at
from tests.support.waiting import wait_until

from runs.api.launcher import Launcher
from runs.domain.plan import RunStart
from runs.errors import TemporalUnavailable
from runs.temporal import run_starter
from runs.temporal.client import connect
from runs.temporal.run_starter import WORKFLOW
from runs.temporal_config import TemporalConfig
from servicekit import telemetry

if TYPE_CHECKING:
    from nagaya_local.parts.temporal import TemporalServer


_A_MINUTE = timedelta(minutes=1)


class Gate:
    """A way to a server that can be closed: connections through it break, new ones are refused."""

    def __init__(self, address: str) -> None:
        host, port = address.split(":")
        self._target = host, int(port)
        self._server: asyncio.Server | None = None
        self._passing: set[asyncio.Task[None]] = set()
        self.port = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._let_through, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._passing:
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)

    async def _let_through(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        there_reader, there_writer = await asyncio.open_connection(*self._target)
        for source, sink in ((reader, there_writer), (there_reader, writer)):
            task = asyncio.create_task(_pump(source, sink))
            self._passing.add(task)
            task.add_done_callback(self._passing.discard)


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65_536):
            sink.write(data)
            await sink.drain()
    except ConnectionError:
        pass
    finally:
        sink.close()


def new_start() -> RunStart:
    return RunStart("acme", str(uuid4()), 1, [["copy", [], {"f": 1}]])


async def start_in_time(launcher: Launcher) -> RunStart:
    """Start a workflow as soon as Temporal can be reached again."""
    start = new_start()

    async def started() -> bool:
        try:
            await launcher.start(start)
        except TemporalUnavailable:
            return False
        return True

    await wait_until(started, pause=0.1)
    return start


async def test_a_launcher_heals_when_temporal_comes_and_goes(temporal: TemporalServer) -> None:
    gate = Gate(temporal.address)
    await gate.open()
    await gate.close()
    launcher = await launcher_at(gate.address)
    for _ in range(2):
        with pytest.raises(TemporalUnavailable):
            await launcher.start(new_start())
        await gate.open()
        start = await start_in_time(launcher)
        state = await launcher.describe("acme", start.run_id)
        assert state is not None
        assert state.status == "running"
        await gate.close()
    await gate.open()
    await start_in_time(launcher)
    await gate.close()


async def test_while_temporal_is_away_calls_fail_at_once(unreachable_launcher: Launcher) -> None:
    with pytest.raises(TemporalUnavailable):
        await unreachable_launcher.start(new_start())
    begun = time.monotonic()
    for _ in range(100):
        with pytest.raises(TemporalUnavailable, match="a moment ago"):
            await unreachable_launcher.start(new_start())

    assert time.monotonic() - begun < 0.5


async def test_an_unknown_namespace_is_not_taken_for_an_unknown_workflow(
    temporal: TemporalServer,
) -> None:
    launcher = await launcher_at(temporal.address, namespace="nowhere")

    with pytest.raises(TemporalUnavailable):
        await launcher.describe("acme", str(uuid4()))


async def test_nothing_happens_when_an_unknown_workflow_is_cancelled(launcher: Launcher) -> None:
    run_id = str(uuid4())
    assert not await launcher.cancel("acme", run_id, str(uuid4()))

    assert await launcher.describe("acme", run_id) is None


async def test_a_workflow_is_started_once_and_not_again_when_it_has_ended(
    launcher: Launcher,
) -> None:
    start = new_start()
    await asyncio.gather(*(launcher.start(start) for _ in range(5)))
    await launcher._handle("acme", start.run_id).terminate()
    await launcher.start(start)

    state = await launcher.describe("acme", start.run_id)
    assert state is not None
    assert state.status == "terminated"


@pytest.mark.parametrize("slow", ["_start", "_terminate"])
async def test_a_slow_start_leaves_the_workflow_of_a_later_epoch_alone(
    temporal: TemporalServer, monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    monkeypatch.setattr(run_starter, "_ENDING_SECONDS", 0.0)
    launcher, other = [await launcher_at(temporal.address) for _ in range(2)]
    first = new_start()
    await launcher.start(first)
    before = await launcher.describe("acme", first.run_id)
    call, calls = getattr(launcher, slow), 0

    async def after_the_others(*values: object, **more: object) -> object:
        """Have the other replica start epoch 3 before this one terminates, or starts again."""
        nonlocal calls
        calls += 1
        if slow == "_terminate" or calls == 2:
            await other.start(replace(first, epoch=3))
        return await call(*values, **more)

    monkeypatch.setattr(launcher, slow, after_the_others)
    await launcher.start(replace(first, epoch=2))

    state = await launcher.describe("acme", first.run_id)
    assert state is not None
    assert (state.status, state.epoch) == ("running", 3)
    assert before is not None
    ended = await launcher._handle("acme", first.run_id, before.execution_id).describe()
    assert ended.status is WorkflowExecutionStatus.TERMINATED


async def test_a_workflow_carries_its_tenant_for_fairness(launcher: Launcher) -> None:
    start = new_start()
    await launcher.start(start)

    described = await launcher._handle("acme", start.run_id).describe()
    assert described.id == f"acme/{start.run_id}"
    priority = described.raw_description.workflow_execution_info.priority
    assert priority.fairness_key == "acme"
    assert not described.raw_description.execution_config.workflow_execution_timeout.ToSeconds()


async def test_nothing_is_connected_before_it_is_needed() -> None:
    await launcher_at(NOWHERE)


@workflow.defn(name=WORKFLOW)
class NotingWorkflow:
    @workflow.run
    async def run(self, start: RunStart) -> str:
        return await workflow.execute_activity(note_trace, schedule_to_close_timeout=_A_MINUTE)


@activity.defn
async def note_trace() -> str:
    return f"{trace.get_current_span().get_span_context().trace_id:032x}"


async def test_a_trace_goes_on_into_the_activities_of_the_run(
    temporal: TemporalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracer = TracerProvider().get_tracer("test")
    monkeypatch.setattr(telemetry, "tracer", lambda: tracer)
    config = TemporalConfig(temporal.address, "default", f"traced-{uuid4()}")
    client = await connect(config, lazy=False)
    start = new_start()
    with tracer.start_as_current_span("CreateRun") as span:
        await Launcher(client, config.task_queue).start(start)
    worker = Worker(
        client,
        task_queue=config.task_queue,
        workflows=[NotingWorkflow],
        activities=[note_trace],
        workflow_runner=UnsandboxedWorkflowRunner(),
    )
    async with worker:
        noted = await client.get_workflow_handle(start.workflow_id, result_type=str).result()

    assert noted == f"{span.get_span_context().trace_id:032x}"
