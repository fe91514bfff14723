"""The limits of tenants in memory, read again each second."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from runs.domain.run_shares import RunDemand
from runs.domain.tenant_limits import USUAL
from runs.store import run_demand, tenant_limits, workers
from servicekit.errors import DomainError
from servicekit.retries import RetryLog

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dataplane.tenants import ManagementPool
    from runs.domain.installed import WorkerSteps
    from runs.domain.tenant_limits import TenantLimits

_SECONDS = 1.0
_SOONEST_SECONDS = 0.2
_log = logging.getLogger(__name__)


class TenantLimitCache:
    """Says which limits a tenant has, without waiting, and which runs others have to do beside it.

    While the database is away limits stay, and what others have to do is forgotten soon.
    """

    def __init__(self, management: ManagementPool) -> None:
        self._management = management
        self._limits: Mapping[str, TenantLimits] = {}
        self._usual = USUAL
        self._noted: dict[tuple[str, str], int] = {}
        self._known: frozenset[tuple[str, str]] = frozenset()
        self._news = asyncio.Event()
        self._read_at = time.monotonic()
        self._known_once = False
        self._running: asyncio.Task[None] | None = None
        self._retry_log = RetryLog(
            _log, "tenant_limits.unavailable", "the limits of tenants are not known"
        )

    def of(self, tenant_id: str) -> TenantLimits:
        """Return a tenant's limits; the usual ones until they are known."""
        return self._limits.get(tenant_id, self._usual)

    def are_known(self) -> bool:
        """Return whether the limits have ever been read."""
        return self._known_once

    def note_demand(self, tenant_id: str, task_queue: str, runs: int) -> None:
        """Have every process know within two seconds how many runs a tenant has to do, and sooner
        that it has any.
        """
        self._noted[tenant_id, task_queue] = runs
        if (tenant_id, task_queue) not in self._known:
            self._news.set()

    def start(self) -> None:
        """Start to read."""
        self._running = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Read no more."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait((self._running,))

    async def refresh(self) -> None:
        """Write what was noted, and read everything now. Raises DomainError."""
        async with self._management.connection() as connection:
            if noted := dict(self._noted):
                await run_demand.put(connection, noted)
                # what was noted meanwhile is written the next time
                self._noted = {
                    key: runs for key, runs in self._noted.items() if noted.get(key) != runs
                }
            found = await tenant_limits.find_all(connection)
            able = _Workers(await workers.steps_at_once(connection))
            demand = await run_demand.find_all(connection)
        demands = {queue: _by_level(runs, found) for queue, runs in demand.items()}
        self._usual = able.beside(USUAL, "", demands)
        known = {tenant_id for runs in demand.values() for tenant_id in runs}
        self._limits = {
            tenant_id: able.beside(found.get(tenant_id, USUAL), tenant_id, demands)
            for tenant_id in found.keys() | able.tenants | known
        }
        self._known_once = True
        self._known = frozenset(
            (tenant_id, queue) for queue, runs in demand.items() for tenant_id in runs
        )
        self._read_at = time.monotonic()

    async def _run(self) -> None:
        while True:
            try:
                await self.refresh()
            except DomainError as error:
                self._retry_log.failed(error)
                self._forget_demands()
            except Exception:
                _log.exception(
                    "the limits of tenants could not be read",
                    extra={"event": "tenant_limits.read_failed"},
                )
                self._forget_demands()
            else:
                self._retry_log.succeeded()
            await asyncio.sleep(_SOONEST_SECONDS)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), _SECONDS)
            self._news.clear()

    def _forget_demands(self) -> None:
        """Forget what tenants had to do when it was read last, if that is long ago."""
        if time.monotonic() > self._read_at + run_demand.SECONDS:
            self._usual = replace(self._usual, demands={})
            self._limits = {
                tenant_id: replace(limits, demands={}) for tenant_id, limits in self._limits.items()
            }


class _Workers:
    """The workers that do steps now: those that do the runs of all tenants, and others."""

    def __init__(self, found: Sequence[WorkerSteps]) -> None:
        self._of_all = [worker for worker in found if not worker.tenants]
        self._dedicated: defaultdict[str, list[WorkerSteps]] = defaultdict(list)
        for worker in found:
            for tenant_id in worker.tenants:
                self._dedicated[tenant_id].append(worker)
        self.tenants = self._dedicated.keys()
        """Those of whom there are workers of their own."""
        self._usual_steps = _steps(self._of_all)
        self._usual_most = _most_steps(self._of_all, USUAL)

    def beside(
        self, limits: TenantLimits, tenant_id: str, demands: Mapping[str, Sequence[RunDemand]]
    ) -> TenantLimits:
        """Return the limits of a tenant with what workers do, and what others want of these."""
        dedicated = self._dedicated.get(tenant_id, [])
        usual = limits == USUAL and not dedicated
        return replace(
            limits,
            tenant_id=tenant_id,
            steps_at_once=self._usual_steps + _steps(dedicated),
            own_steps=_steps(one for one in dedicated if len(one.tenants) == 1),
            most_steps=self._usual_most
            if usual
            else _most_steps([*self._of_all, *dedicated], limits),
            demands=self._sharing(dedicated, demands),
        )

    def _sharing(
        self, dedicated: Sequence[WorkerSteps], demands: Mapping[str, Sequence[RunDemand]]
    ) -> Mapping[str, Sequence[RunDemand]]:
        """Return the demands of those that may use workers of a tenant too."""
        found = dict(demands)
        for queue in {one.task_queue for one in dedicated}:
            if queue in found and not self._usual_steps[queue]:
                tenants = frozenset[str]().union(
                    *(one.tenants for one in dedicated if one.task_queue == queue)
                )
                found[queue] = [one for one in found[queue] if one.tenant_id in tenants]
        return found


def _steps(workers: Iterable[WorkerSteps]) -> Counter[str]:
    """Return how many steps workers do at once, by task queue."""
    found = Counter[str]()
    for worker in workers:
        found[worker.task_queue] += worker.steps
    return found


def _most_steps(workers: Iterable[WorkerSteps], limits: TenantLimits) -> Counter[str]:
    """Return how many of these a tenant holds at most, by task queue."""
    found = Counter[str]()
    for worker in workers:
        found[worker.task_queue] += limits.steps_of(worker.steps, worker.tenant_share)
    return found


def _by_level(demand: Mapping[str, int], limits: Mapping[str, TenantLimits]) -> Sequence[RunDemand]:
    """Return what tenants would have under way, those first who want least for their weight."""
    found: list[RunDemand] = []
    for tenant_id, runs in demand.items():
        limit = limits.get(tenant_id, USUAL)
        # Those that wait for their minute need no room yet.
        bounds = [bound for bound in (limit.max_runs, limit.starts_per_minute) if bound]
        found.append(RunDemand(tenant_id, min([runs, *bounds]), limit.weight))
    return sorted(found, key=lambda one: one.level)
