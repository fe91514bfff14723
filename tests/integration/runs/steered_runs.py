"""A worker whose function does as a test says, and the service that steers its runs."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from temporalio.client import Client
from tests.support.runs_service import RunsService
from tests.support.runs_worker import no_processes
from tests.support.waiting import wait_until

from nagaya_functions import StepError
from runs.api.launcher import Launcher
from runs.peers.llm_gateway import LlmGateway
from runs.temporal.client import data_converter
from runs.worker.activities.admission import WorkerSlots
from runs.worker.activities.next_runs import NextRuns
from runs.worker.composition import InstalledCode, make_activities
from runs.worker.functions import FunctionRegistry
from runs.worker.graphs import GraphRegistry
from runs.worker.temporal_worker import make_worker

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import asyncpg
    import grpc

    from dataplane.tenants import ManagementPool, TenantPools
    from jsonvalues import JsonValue
    from nagaya_functions import StepContext
    from runs.domain.runs import Run, RunStatus


def step(name: str, *needs: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Return a step that calls the worker's function."""
    short = more.pop("short", False)
    function = {"function": "work", "short": short}
    return {"step": name, "needs": list(needs), "function": function, **more}


class SteeredRuns:
    """What the function was called for, which of its calls wait, and which fail."""

    def __init__(
        self, tenants: TenantPools, management: ManagementPool, peers: grpc.aio.Channel
    ) -> None:
        self._parts = (tenants, management, peers)
        self.noted: list[tuple[str, int, str]] = []
        """Step, element, and `began`, `ended` or `cancelled`."""
        self.waiting: set[str] = set()
        """The steps whose calls wait until they may end."""
        self.may_end = asyncio.Event()
        self.failing: set[tuple[str, int]] = set()
        """The steps and elements that fail for good."""
        self.retried: set[str] = set()
        """The steps of which each attempt fails."""

    @asynccontextmanager
    async def working(self, address: str) -> AsyncGenerator[RunsService]:
        """Run the worker for the block."""
        tenants, management, peers = self._parts
        queue = f"steered-{secrets.token_hex(4)}"
        client = await Client.connect(address, identity=queue, data_converter=data_converter())
        self.service = RunsService(tenants, management, Launcher(client, queue), peers)
        code = InstalledCode(FunctionRegistry({"work": self._work}), GraphRegistry({}))
        slots = WorkerSlots(20, 75)
        gateway = LlmGateway(peers)
        service = self.service
        next_runs = NextRuns(tenants, service.launcher, service.limits_of, lambda: True)
        made = make_activities(
            *(service.data, service.files, gateway, code, no_processes(), slots, next_runs.start)
        )
        async with make_worker(client, queue, made.all, slots):
            try:
                yield self.service
            finally:
                self.may_end.set()
        await next_runs.stop()

    def count(self, name: str, word: str, item: int = 0) -> int:
        return self.noted.count((name, item, word))

    async def began(self, name: str, item: int = 0, times: int = 1) -> None:
        async def found() -> bool:
            return self.count(name, "began", item) >= times

        await wait_until(found)

    async def began_in_all(self, name: str, elements: int) -> None:
        """Wait until so many elements of a step have begun."""

        async def found() -> bool:
            return sum(one[0] == name and one[2] == "began" for one in self.noted) >= elements

        await wait_until(found)

    async def reached(self, run_id: str, *statuses: RunStatus, seconds: float = 30.0) -> Run:
        async def status() -> Run | None:
            run = await self.service.find(run_id)
            return run if run.status in statuses else None

        return await wait_until(status, seconds=seconds)

    async def _work(self, context: StepContext) -> JsonValue:
        key = (context.step, context.item)
        self.noted.append((*key, "began"))
        try:
            if context.step in self.waiting:
                await self.may_end.wait()
        except asyncio.CancelledError:
            self.noted.append((*key, "cancelled"))
            raise
        if key in self.failing:
            raise StepError("REFUSED", "not this one", retryable=False)
        if context.step in self.retried:
            raise StepError("BUSY", "not this time")
        self.noted.append((*key, "ended"))
        return context.step


CHAIN = (step("a"), step("b", "a"), step("c", "b"))


async def begun(steered: SteeredRuns, waits_in: str, *steps: dict[str, object]) -> str:
    """Return a run whose function waits in a step."""
    steered.waiting = {waits_in}
    await steered.service.pipeline(*(steps or CHAIN))
    run_id = (await steered.service.run()).run_id
    await steered.began(waits_in, item=1 if "map" in next(iter(steps), {}) else 0)
    return run_id


async def assert_whole(database: asyncpg.Connection) -> None:
    """Assert that events have no gap, that steps are told as they are, and nothing is left over."""
    runs = await database.fetch(
        """
        SELECT last_seq, array_agg(seq ORDER BY seq) AS seqs, completed_steps,
               (SELECT count(*) FROM steps WHERE run_id = runs.id AND status = 'completed') AS done
          FROM runs JOIN run_events ON run_id = runs.id GROUP BY runs.id
        """
    )
    for run in runs:
        assert run["seqs"] == [*range(1, run["last_seq"] + 1)]
        assert run["completed_steps"] == run["done"]
    events = await database.fetch(
        """
        SELECT steps.status, (
               SELECT payload ->> 'status' FROM run_events
                WHERE run_events.run_id = steps.run_id AND kind = 'step'
                  AND (payload ->> 'id')::bigint = steps.id
                ORDER BY seq DESC LIMIT 1) AS last
          FROM steps
        """
    )
    assert all(row["status"] == row["last"] for row in events)
    assert await database.fetchval("SELECT count(*) FROM outbox") == 0
