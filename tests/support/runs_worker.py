"""A worker of runs in the process of a test, whose activities the test calls as Temporal does."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from temporalio.testing import ActivityEnvironment

from nagaya_functions.calls import call_function
from runs.config import FunctionConfig
from runs.domain.activities import MappedList, StepRef, StepResult, Walk, Walked
from runs.peers.llm_gateway import LlmGateway
from runs.store import run_transitions
from runs.worker.activities.admission import WorkerSlots
from runs.worker.composition import InstalledCode, make_activities
from runs.worker.function_host.pool import FunctionPool
from runs.worker.functions import FunctionRegistry, InstalledFunction
from runs.worker.graphs import GraphRegistry

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    import asyncpg
    import grpc
    from tests.support.runs_service import RunsService

    from jsonvalues import JsonValue
    from nagaya_functions import StepContext
    from nagaya_functions.calls import FunctionResult
    from runs.domain.runs import RunStatus
    from runs.worker.function_host.call import FunctionCall
    from runs.worker.functions import BuiltInFunction

COPY = {"step": "copy", "function": {"function": "copy"}}
SHORT = {"step": "copy", "function": {"function": "copy", "short": True}}
MAPPED = {**COPY, "map": {"step": "input"}}
UNLIKE = {"step": "copy", "function": {"function": "installed.copy", "short": True}}
"""A short step whose function may return something else the next time."""


def after(kind: dict[str, Any], *names: str) -> list[dict[str, Any]]:
    """Return steps of one kind, each after the one before."""
    needs = [[], *([name] for name in names)]
    return [{**kind, "step": name, "needs": need} for name, need in zip(names, needs, strict=False)]


class RunsWorker:
    """The activities for the steps of one run, and what its function does; artifacts is played.

    There are two functions: `copy`, which is built in, and `installed.copy`, which is not.
    """

    def __init__(self, service: RunsService, peers: grpc.aio.Channel) -> None:
        self.service = service
        self.does: Callable[[], Awaitable[JsonValue]] = nothing
        self.context: StepContext | None = None
        """What the function was called with last."""
        self.work = StepRef("acme", "", 1, "copy")
        registry = FunctionRegistry(
            {"copy": self._copy}, {"installed.copy": InstalledFunction("installed.copy", "x:y")}
        )
        code = InstalledCode(registry, GraphRegistry({}))
        self.activities = make_activities(
            service.data,
            service.files,
            LlmGateway(peers),
            code,
            PlayedPool(self._copy),
            WorkerSlots(100, 75),
        )
        self.steps = self.activities.steps

    async def begin(self, *steps: dict[str, Any]) -> StepRef:
        """Create a run, by default of one step, and have it running."""
        work = await self.create(*steps)
        await self.service.begin(work.run_id)
        return work

    async def create(self, *steps: dict[str, Any]) -> StepRef:
        """Create a run, which nothing has begun yet."""
        await self.service.pipeline(*steps)
        run = await self.service.run()
        self.work = StepRef("acme", run.run_id, 1, steps[0]["step"])
        return self.work

    async def late_begin(self) -> None:
        """Do what an attempt does first; its worker was given up and has come back."""
        assert await self.service.journal.begin(self.work) is not None

    async def finish(self, status: RunStatus) -> None:
        async with self.service.tenants.transaction("acme") as connection:
            assert await run_transitions.finish(connection, self.work.run_id, 1, status) is not None

    async def run(self) -> StepResult:
        return await ActivityEnvironment().run(self.steps.run_step, self.work)

    async def run_short(self) -> StepResult:
        return await ActivityEnvironment().run(self.steps.run_short_step, self.work)

    async def open_map(self) -> MappedList:
        return await ActivityEnvironment().run(self.steps.open_map, self.work)

    async def close_map(self) -> StepResult:
        return await ActivityEnvironment().run(self.steps.close_map, self.work)

    async def walk(
        self,
        *steps: str,
        heartbeat_details: Sequence[str] = (),
        **more: Any,  # noqa: ANN401
    ) -> Walked:
        """Walk some steps of the run in an activity that is not local; the fields of the Walk are
        those of the only chain of a run, unless told.
        """
        whole = Walk("acme", self.work.run_id, 1, list(steps), begins_run=True, completes_run=True)
        environment = ActivityEnvironment()
        environment.info = replace(environment.info, heartbeat_details=heartbeat_details)
        return await environment.run(self.activities.walks.walk, replace(whole, **more))

    async def walk_approval(self, step: str, epoch: int = 1) -> Walked:
        """Ask a person, or end the step that asked."""
        walk = Walk("acme", self.work.run_id, epoch, [step])
        return await ActivityEnvironment().run(self.activities.walks.walk_approval, walk)

    async def open_maps(self, *steps: str) -> Walked:
        """Begin mapped steps of one chain."""
        walk = Walk("acme", self.work.run_id, 1, list(steps))
        return await ActivityEnvironment().run(self.activities.walks.open_maps, walk)

    async def close_maps(self, *steps: str, completes_run: bool = True) -> Walked:
        """End mapped steps of one chain, by default the only one of the run."""
        walk = Walk("acme", self.work.run_id, 1, list(steps), completes_run=completes_run)
        return await ActivityEnvironment().run(self.activities.walks.close_maps, walk)

    async def _copy(self, context: StepContext) -> JsonValue:
        self.context = context
        return await self.does()


class PlayedPool(FunctionPool):
    """Calls one function where the test is, whichever is asked for."""

    def __init__(self, function: BuiltInFunction) -> None:
        super().__init__(FunctionConfig(1, 64, 60.0), 100)
        self._function = function

    async def call(self, call: FunctionCall, seconds: float) -> FunctionResult:
        return await call_function(self._function, call.context, call.metrics)


def no_processes() -> FunctionPool:
    """A pool for tests whose functions run where the test does."""
    return FunctionPool(FunctionConfig(1, 64, 60.0), 100)


async def nothing() -> JsonValue:
    return None


async def steps_of(database: asyncpg.Connection) -> list[tuple[str, int]]:
    rows = await database.fetch("SELECT status, retry_count FROM steps ORDER BY id")
    return [tuple(row) for row in rows]
