"""`make histories`: records the histories that the next release must be able to replay.

Each is what Temporal keeps of a run of one kind. The workers record instead of doing anything,
and are called RECORDED, so that a history holds no body and names no machine.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import tempfile
import uuid
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from google.protobuf.json_format import ParseDict
from temporalio.client import (
    Schedule,
    ScheduleActionExecutionStartWorkflow,
    ScheduleActionStartWorkflow,
    ScheduleSpec,
    ScheduleState,
    WorkflowFailureError,
)
from tests.integration.runs.recorded_graph import FAILING as FAILING_GRAPH
from tests.integration.runs.recorded_graph import GRAPH as RECORDED_GRAPH
from tests.integration.runs.recorded_graph import QUESTION
from tests.integration.runs.recording_worker import (
    VISITS,
    RecordedActivities,
    connect,
    start,
    worker,
)

from nagaya.runs.v1 import pipeline_pb2
from nagaya_local.machine.ports import free_port
from nagaya_local.machine.running import running
from nagaya_local.parts.temporal import TemporalServer
from runs.api.app.scheduled_runs import ScheduledRuns
from runs.api.schedule_worker import ScheduleActivities, make_worker
from runs.domain.plan import TO_PAUSE, Plan, PlanStep
from runs.temporal.schedules import WORKFLOW, ScheduledStart
from runs.wire.pipelines import pipeline_spec
from runs.worker.workflows import PipelineRun

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from datetime import datetime

    from temporalio.client import WorkflowHistory

FOLDER = Path(__file__).parent / "histories"
ROOT = Path(__file__).parents[2]
RECORDED = "recorded"

SHORT_CHAIN = Plan(
    (
        PlanStep("a", "function", short=True),
        PlanStep("b", "function", ("a",), short=True),
        PlanStep("c", "function", ("a",), short=True),
        PlanStep("d", "function", ("b", "c"), short=True, map_step="a"),
    )
)
LONG_MAP = Plan((PlanStep("a"), PlanStep("long", "function", ("a",), short=True, map_step="a")))
SKIPPED = Plan(
    (
        PlanStep("a"),
        PlanStep("skipped", needs=("a",), has_when=True),
        PlanStep("skipped-map", needs=("a",), map_step="a", has_when=True),
        PlanStep("last", needs=("skipped", "skipped-map")),
    )
)
FAILED = Plan(
    (
        PlanStep("a"),
        PlanStep("broken", needs=("a",)),
        PlanStep("endless", needs=("a",), map_step="a"),
        PlanStep("endless-too", needs=("a",)),
        PlanStep("last", needs=("broken", "endless", "endless-too")),
    )
)
CANCELLED = Plan(
    (PlanStep("endless"), PlanStep("endless-too"), PlanStep("last", needs=("endless",)))
)
KILLED = Plan((PlanStep("a"), PlanStep("fatal", needs=("a",)), PlanStep("b", needs=("fatal",))))


def article() -> Plan:
    """Return the plan of the pipeline of examples/article."""
    spec = yaml.safe_load((ROOT / "examples" / "article" / "pipeline.yaml").read_text())
    del spec["pipeline"]
    return Plan.of(pipeline_spec(ParseDict(spec, pipeline_pb2.PipelineSpec())))


HANDED_OVER = Plan((PlanStep("a"), PlanStep("slow", needs=("a",)), PlanStep("b", needs=("slow",))))
ELEMENTS = Plan(
    (
        PlanStep("a"),
        PlanStep("b", needs=("a",), map_step="a"),
        PlanStep("c", needs=("b",), map_step="a", element_needs=("b",)),
        PlanStep("d", "function", ("a",), short=True, map_step="a"),
        PlanStep("last", needs=("b", "c", "d")),
    )
)


LOOP = Plan(
    (
        PlanStep("a"),
        PlanStep("draft", needs=("a",)),
        PlanStep("facts", needs=("draft",)),
        PlanStep("style", needs=("draft",)),
        PlanStep("review", needs=("facts", "style"), visits=VISITS, loop_from="draft"),
        PlanStep("last", needs=("review",)),
    )
)
APPROVAL = Plan(
    (
        PlanStep("a"),
        PlanStep("ask", "approval", ("a",)),
        PlanStep("beside", needs=("a",)),
        PlanStep("last", needs=("ask", "beside")),
    )
)
HASTY = Plan(
    (PlanStep("a"), PlanStep("hasty", "approval", ("a",)), PlanStep("b", needs=("hasty",)))
)
GRAPH = Plan((PlanStep(QUESTION, "approval"),), RECORDED_GRAPH, 50)
FAILED_GRAPH = Plan((), FAILING_GRAPH, 50)
_CANCELLED_FOR = {"cancelled-v7": "", "paused-v7": TO_PAUSE}
"""The reasons with which workflows are cancelled, by kind."""


async def record(address: str) -> AsyncGenerator[tuple[str, WorkflowHistory]]:
    """Run one run of each kind; send its name and its history.

    Those of earlier versions are not recorded anew: their runs are to end as they began.
    """
    for name, plan in (
        ("article-v7", article()),
        ("short-steps-v7", SHORT_CHAIN),
        ("skipped-v7", SKIPPED),
        ("failed-v7", FAILED),
        ("graph-failed-v7", FAILED_GRAPH),
        ("cancelled-v7", CANCELLED),
        ("paused-v7", CANCELLED),
        ("handed-over-v7", HANDED_OVER),
    ):
        yield name, await _ended(address, plan, _CANCELLED_FOR.get(name))
    for name, plan, length in (("elements-v7", ELEMENTS, 51), ("long-map-v7", LONG_MAP, 1_001)):
        recorded = RecordedActivities(list_length=length)
        async with worker(address, recorded, RECORDED) as client:
            handle = await start(client, plan)
            await handle.result()
            yield name, await handle.fetch_history()
    for name, cancel in (("scheduled", False), ("scheduled-cancelled", True)):
        yield name, await _scheduled(address, cancel=cancel)
    yield "loop", await _ended(address, LOOP, None)
    yield "approval-timeout", await _ended(address, HASTY, None)
    yield "approval", await _decided(address, APPROVAL)
    yield "approval-cancelled", await _decided(address, APPROVAL, cancel=True)
    yield "graph", await _decided(address, GRAPH)
    yield "graph-cancelled", await _decided(address, GRAPH, cancel=True)
    yield "retried-v7", await _retried(address, ELEMENTS)
    yield "killed-worker-v7", await _survived(address, KILLED)


async def _ended(address: str, plan: Plan, reason: str | None) -> WorkflowHistory:
    recorded = RecordedActivities()
    async with worker(address, recorded, RECORDED) as client:
        handle = await start(client, plan)
        if reason is not None:
            await recorded.endless_began.wait()
            await handle.cancel(reason=reason)
        try:
            await handle.result()
        except WorkflowFailureError:
            assert recorded.statuses[-1] in ("failed", "cancelled")
        return await handle.fetch_history()


async def _decided(address: str, plan: Plan, *, cancel: bool = False) -> WorkflowHistory:
    """Return the history of a run that waits for a person, or is cancelled meanwhile."""
    recorded = RecordedActivities()
    async with worker(address, recorded, RECORDED) as client:
        handle = await start(client, plan)
        await recorded.asked.wait()
        if cancel:
            await handle.cancel()
        else:
            await handle.signal(PipelineRun.decided)  # before it is known: it is asked again
            recorded.decided = True
            await handle.signal(PipelineRun.decided)
        with suppress(WorkflowFailureError):
            await handle.result()
        return await handle.fetch_history()


class PlayedRuns(ScheduledRuns):
    """Runs of schedules that have not ended when they are looked at first."""

    def __init__(self) -> None:
        self.looked = 0
        self.began = asyncio.Event()

    async def create(self, tenant_id: str, schedule_id: str, time: datetime) -> str:
        return "0192f0c1-2345-7000-8000-000000000001"

    async def has_ended(self, tenant_id: str, run_id: str) -> bool:
        self.looked += 1
        self.began.set()
        return self.looked > 2

    async def cancel(self, tenant_id: str, run_id: str) -> None:
        self.looked = 2


async def _scheduled(address: str, *, cancel: bool) -> WorkflowHistory:
    """Return the history of what Temporal starts at a schedule's time, which waits for its run."""
    client, runs = await connect(address, RECORDED), PlayedRuns()
    schedule_id = str(uuid.uuid4())
    start = ScheduledStart("acme", schedule_id, 60, waits=True)
    action = ScheduleActionStartWorkflow(
        WORKFLOW, start, id=f"acme/schedule/{schedule_id}", task_queue=RECORDED
    )
    never = ScheduleState(paused=True)
    handle = await client.create_schedule(
        schedule_id, Schedule(action, ScheduleSpec(cron_expressions=["0 0 1 1 *"]), state=never)
    )
    async with make_worker(client, RECORDED, ScheduleActivities(runs)):
        await handle.trigger()
        await runs.began.wait()
        (run,) = [action.action for action in (await handle.describe()).info.recent_actions]
        assert isinstance(run, ScheduleActionExecutionStartWorkflow)
        started = client.get_workflow_handle(run.workflow_id, run_id=run.first_execution_run_id)
        if cancel:
            runs.looked = -1_000
            await started.cancel()
        with suppress(WorkflowFailureError):
            await started.result()
        await handle.delete()
        history = await started.fetch_history()
    for event in history.events:  # the server's own part says on which machine it runs
        if event.HasField("workflow_execution_started_event_attributes"):
            event.workflow_execution_started_event_attributes.identity = RECORDED
        if event.HasField("workflow_execution_cancel_requested_event_attributes"):
            event.workflow_execution_cancel_requested_event_attributes.identity = RECORDED
    return history


async def _retried(address: str, plan: Plan) -> WorkflowHistory:
    """Return the history of a run's second workflow, for which one element goes first."""
    async with worker(address, RecordedActivities(), RECORDED) as client:
        handle = await start(client, plan, epoch=2, retry_step="b", retry_item=2)
        await handle.result()
        return await handle.fetch_history()


async def _survived(address: str, plan: Plan) -> WorkflowHistory:
    """Return the history of a run whose first worker was killed in the middle of a step."""
    fatal = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.integration.runs.killed_worker", address, RECORDED,
        cwd=ROOT,
    )  # fmt: skip
    handle = await start(await connect(address, RECORDED), plan)
    await fatal.wait()
    async with worker(address, RecordedActivities(), RECORDED):
        await handle.result()
        return await handle.fetch_history()


async def main() -> None:
    logging.disable(logging.WARNING)  # a step fails, as it is meant to
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = TemporalServer(folder, free_port())
        async with running(server, folder / "temporal.log", seconds=120):
            async for kind, history in record(server.address):
                events = (json.dumps(event) for event in history.to_json_dict()["events"])
                lines = ",\n".join(events)
                (FOLDER / f"{kind}.json").write_text(f'{{"events": [\n{lines}\n]}}\n')
                sys.stdout.write(f"{kind}: {len(history.events)} events\n")


if __name__ == "__main__":
    asyncio.run(asyncio.wait_for(main(), 300))
