"""A worker whose activities only record their calls: for tests of the workflow alone."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner, Worker
from tests.integration.runs.recorded_graph import interceptor, returned

from runs.api.schedule_worker import ScheduledRun
from runs.domain.activities import MappedList, RunEnd, RunRef, StepRef, StepResult, Walk, Walked
from runs.domain.node_walks import NodeWalk, NodeWalked
from runs.domain.plan import WORKFLOW_VERSION, Plan, RunStart
from runs.temporal.client import data_converter
from runs.worker.superseded.workflows import MapPartRun
from runs.worker.workflows import PipelineRun

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from temporalio.client import WorkflowHandle, WorkflowHistory

LONG = ("endless", "deaf", "stubborn", "gathering", "fatal", "slow")
"""Steps whose names begin so take long."""

LANE = 10
VISITS = 3
_HASTY_MS = 50
_SOON = timedelta(milliseconds=50)
WORKFLOWS = [PipelineRun, MapPartRun]
REPLAYED = [*WORKFLOWS, ScheduledRun]
NOTHING = StepResult()
RESULT = StepResult("storage/acme/r/s/output.json", "0" * 64, "1,234 characters", {"characters": 1})


@dataclass
class RecordedActivities:
    """What was asked for.

    Steps called `broken` fail, those called `skipped` are, those called `endless…` wait for their
    end, those called `deaf` end well when they are let go, whoever cancels them, the lists of those
    called `deaf-list` are opened once that is cancelled, and those called `stubborn` want to be
    tried again when they are cancelled. Those called `gathering` wait until
    so many of them are in flight at once. Those called `failing` fail each time, and so does the
    run's end where that is `failing`.
    """

    list_length: int = 3
    slow_begin: bool = False
    failing: bool = False
    gathering: int = 0
    gathered: asyncio.Event = field(default_factory=asyncio.Event)
    in_flight: int = 0
    most_in_flight: int = 0
    done: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    timeouts: dict[str, timedelta | None] = field(default_factory=dict[str, timedelta | None])
    walks: list[Walk] = field(default_factory=list[Walk])
    ends: list[RunEnd] = field(default_factory=list[RunEnd])
    statuses: list[str] = field(default_factory=list[str])
    """Those that the run was given at its end."""
    map_closed: asyncio.Event = field(default_factory=asyncio.Event)
    deaf_began: asyncio.Event = field(default_factory=asyncio.Event)
    may_break: asyncio.Event | None = None
    deaf_may_end: asyncio.Event = field(default_factory=asyncio.Event)
    endless_began: asyncio.Event = field(default_factory=asyncio.Event)
    endless_cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    decided: bool = False
    waited_for: set[str] = field(default_factory=set[str])

    @activity.defn
    async def begin_run(self, run: RunRef) -> bool:
        self.timeouts["begin"] = activity.info().start_to_close_timeout
        return run.epoch > 0

    @activity.defn
    async def end_run(self, end: RunEnd) -> None:
        self.ends.append(end)
        self.statuses.append(end.status)
        if self.failing:
            raise ApplicationError("not this time", type="BUSY", next_retry_delay=_SOON)

    @activity.defn
    async def run_step(self, work: StepRef) -> StepResult:
        self.done.append((work.step, work.item))
        if work.step == "broken":
            if self.may_break is not None:
                await self.may_break.wait()
            raise ApplicationError("it broke", type="BROKEN", non_retryable=True)
        if work.step == "failing":
            raise ApplicationError("not this time", type="BUSY", next_retry_delay=_SOON)
        if work.step == "deaf":
            self.deaf_began.set()
            await self.deaf_may_end.wait()
        if work.step.startswith("endless"):
            await self._wait()
        if work.step == "stubborn":
            try:
                await self._wait()
            except asyncio.CancelledError:
                raise ApplicationError("once more", type="BUSY") from None
        if work.step == "gathering":
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
            if self.in_flight == self.gathering:
                self.gathered.set()
            await self.gathered.wait()
            self.in_flight -= 1
        return NOTHING if work.step == "skipped" else RESULT

    @activity.defn
    async def run_short_step(self, work: StepRef) -> StepResult:
        self.timeouts["short"] = activity.info().start_to_close_timeout
        self.done.append((work.step, work.item))
        return RESULT

    @activity.defn
    async def open_map(self, work: StepRef) -> MappedList:
        self.done.append((f"open {work.step}", 0))
        self.timeouts["open"] = activity.info().start_to_close_timeout
        if work.step == "skipped-map":
            return MappedList(skipped=True)
        return MappedList("0" * 64, self.list_length)

    @activity.defn
    async def close_map(self, work: StepRef) -> StepResult:
        self.done.append((f"close {work.step}", 0))
        self.map_closed.set()
        return RESULT

    @activity.defn
    async def walk(self, walk: Walk) -> Walked:
        """Do the steps; a local activity leaves those that take long to another."""
        if walk.epoch <= 0:
            raise ApplicationError("the run is over", type="RUN_CLOSED", non_retryable=True)
        info = activity.info()
        self.timeouts["walk"] = info.start_to_close_timeout
        self.walks.append(walk)
        if info.is_local and any(step.startswith(LONG) for step in walk.steps):
            return Walked(more=True, attempts=[[0, walk.first, 1, 1, 0, 0]])
        items = range(walk.first, walk.last + 1)
        at_once = asyncio.Semaphore(LANE)

        async def do(item: int) -> None:
            async with at_once:
                for step in walk.steps:
                    await self.run_step(walk.ref(step, item))
                    if (task := asyncio.current_task()) is not None and task.cancelling():
                        raise asyncio.CancelledError

        await asyncio.gather(*map(do, items))
        self._complete(walk)
        return Walked()

    @activity.defn
    async def open_maps(self, walk: Walk) -> Walked:
        if activity.info().is_local and self.slow_begin:
            return Walked(more=True)
        if walk.steps[0] == "deaf-list":
            self.deaf_began.set()
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        mapped = [await self.open_map(walk.ref(step)) for step in walk.steps]
        return Walked(count=mapped[0].count, skipped=mapped[0].skipped)

    @activity.defn
    async def close_maps(self, walk: Walk) -> Walked:
        for step in walk.steps:
            await self.close_map(walk.ref(step))
        self._complete(walk)
        return Walked()

    @activity.defn
    async def end_visit(self, walk: Walk) -> Walked:
        """Leave a loop after its third visit."""
        return Walked(again=walk.visit < VISITS)

    @activity.defn
    async def walk_approval(self, walk: Walk) -> Walked:
        """Ask a person; those called `hasty` are given a moment, the others until they decide."""
        self.asked.set()
        hasty = walk.steps[0].startswith("hasty")
        waiting = not self.decided and walk.steps[0] not in self.waited_for
        if hasty:
            self.waited_for.add(walk.steps[0])
        return Walked(waiting=waiting, wait_ms=_HASTY_MS if hasty and waiting else 0)

    @activity.defn
    async def begin_graph(self, walk: NodeWalk) -> NodeWalked:
        return NodeWalked(update={"round": 0})

    @activity.defn
    async def run_node(self, walk: NodeWalk) -> NodeWalked:
        self.done.append((walk.node, walk.item))
        return returned(walk, local=activity.info().is_local)

    def _complete(self, walk: Walk) -> None:
        if walk.completes_run:
            self.statuses.append("completed")

    @property
    def activities(self) -> list[Callable[..., Awaitable[object]]]:
        runs = [self.begin_run, self.end_run]
        steps = [self.run_step, self.run_short_step, self.open_map, self.close_map]
        walks = [self.walk, self.open_maps, self.close_maps, self.end_visit, self.walk_approval]
        return [*runs, *steps, *walks, self.begin_graph, self.run_node]

    async def _wait(self) -> None:
        self.endless_began.set()
        try:
            while True:
                activity.heartbeat()
                await asyncio.sleep(0.1)
        except asyncio.CancelledError:
            self.endless_cancelled.set()
            raise


@asynccontextmanager
async def worker(
    address: str, recorded: RecordedActivities, queue: str = ""
) -> AsyncGenerator[Client]:
    """Run a worker on a task queue of its own, which the client's `identity` names."""
    queue = queue or f"recording-{uuid.uuid4().hex[:8]}"
    client = await connect(address, queue)
    async with Worker(
        client,
        task_queue=queue,
        workflows=WORKFLOWS,
        activities=recorded.activities,
        workflow_runner=UnsandboxedWorkflowRunner(),
        interceptors=[interceptor()],
        max_heartbeat_throttle_interval=timedelta(seconds=1),
    ):
        yield client


async def connect(address: str, queue: str) -> Client:
    """Make a client that starts runs on a task queue, and bears its name."""
    return await Client.connect(address, data_converter=data_converter(), identity=queue)


async def start(
    client: Client,
    plan: Plan,
    epoch: int = 1,
    version: int = WORKFLOW_VERSION,
    retry_step: str = "",
    retry_item: int = 0,
) -> WorkflowHandle[PipelineRun, None]:
    run_id = str(uuid.uuid4())
    run = RunStart("acme", run_id, epoch, plan.compact(), version, retry_step, retry_item)
    return await client.start_workflow(
        PipelineRun.run, run, id=run.workflow_id, task_queue=client.identity
    )


async def replay(history: WorkflowHistory) -> None:
    """Run a history through the workflow's code as a fresh worker would. Raises if they differ."""
    replayer = Replayer(
        workflows=REPLAYED,
        workflow_runner=UnsandboxedWorkflowRunner(),
        interceptors=[interceptor()],
        data_converter=data_converter(),
    )
    await replayer.replay_workflow(history)
