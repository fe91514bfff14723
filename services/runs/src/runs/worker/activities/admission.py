"""Bounds how much of a worker one tenant holds, so that the runs of others find room.

Nobody knows whose step a task is before it is taken. So it is taken, and what exceeds its tenant's
share goes back to Temporal at once: a retry, which adds nothing to the history, and nothing has
been recorded in the tenant's database. Waiting costs neither a slot nor an attempt.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict, deque
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.worker import ActivityInboundInterceptor, Interceptor

from runs.domain.activities import StepRef
from runs.domain.failures import TENANT_SHARE_TAKEN
from runs.domain.tenant_limits import usual_limits
from runs.worker.metrics import ACTIVITY_QUEUE_SECONDS, HANDED_BACK

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from temporalio.worker import ExecuteActivityInput

    from runs.domain.activities import RunEnd, RunRef
    from runs.domain.tenant_limits import LimitsOf

_SHORT_AT_ONCE = 50
"""How many short steps of a tenant a worker does at once: each may hold some MiB."""

_ENDS = 16
_SOONEST, _LONGEST = 0.5, 30.0
_SHORTEST_GAP, _LONGEST_GAP = 0.02, 0.5


class TenantShareTaken(Exception):
    """The worker begins nothing more of a tenant: its share is taken, or the worker stops."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"retry in {seconds:.1f} s")
        self.seconds = seconds


class WorkerSlots:
    """The slots of a worker. A tenant holds at most `share` percent of what the others leave it.

    So tenants that want all they can get leave some to whoever comes next, alone more than
    together; and a tenant that holds none always gets one. Those of different weights hold slots
    in the proportion of their weights: what counts is how many one holds for each that is left.
    """

    def __init__(
        self,
        count: int,
        share: int,
        clock: Callable[[], float] = time.monotonic,
        limits: LimitsOf = usual_limits,
    ) -> None:
        self.count = count
        self._share = share
        self._clock = clock
        self._limits = limits
        self._held = 0
        self._tenants: dict[str, _Tenant] = {}

    @property
    def held(self) -> int:
        """How many are held."""
        return self._held

    def exceeds_share(self, tenant_id: str) -> bool:
        """Return whether a tenant holds more than its share, now that others hold some too."""
        tenant = self._tenants.get(tenant_id)
        return tenant is not None and tenant.held > self._share_of(tenant_id, tenant)

    def has_room(self, tenant_id: str) -> bool:
        """Return whether `hold` would let a tenant hold one more slot."""
        tenant = self._tenants.get(tenant_id)
        return tenant is None or tenant.held < self._share_of(tenant_id, tenant)

    @contextmanager
    def hold(self, tenant_id: str) -> Generator[None]:
        """Hold a slot. Raises TenantShareTaken, which says when to retry."""
        now = self._clock()
        tenant = self._tenants.setdefault(tenant_id, _Tenant(now))
        if tenant.held >= self._share_of(tenant_id, tenant):
            raise TenantShareTaken(tenant.next_retry(now))
        self._held += 1
        tenant.add(now)
        try:
            yield
        finally:
            self._held -= 1
            tenant.remove(now, self._clock())
            if not tenant.held:
                del self._tenants[tenant_id]

    def _share_of(self, tenant_id: str, tenant: _Tenant) -> int:
        left = self.count - (self._held - tenant.held)
        return self._limits(tenant_id).steps_of(left, self._share)


class _Tenant:
    """What a tenant holds, and when its next step is to be retried."""

    def __init__(self, now: float) -> None:
        self.held = 0
        self._begins = 0.0
        self._ends = deque([now], _ENDS)
        self._last_retry = now

    def add(self, now: float) -> None:
        self.held += 1
        self._begins += now

    def remove(self, begun: float, now: float) -> None:
        self.held -= 1
        self._begins -= begun
        self._ends.append(now)

    def next_retry(self, now: float) -> float:
        """Return in how many seconds the next step is to be retried.

        They are retried one after another, about twice as often as slots become free: so a free
        slot waits little, and a long queue is no busier than a short one.
        """
        # Steps are taken to be half done, if nothing better is known of how long they last.
        expected = (now - self._begins / self.held) / self.held
        lately = (now - self._ends[0]) / len(self._ends) / 2
        gap = min(max(min(expected, lately), _SHORTEST_GAP), _LONGEST_GAP)
        self._last_retry = min(max(self._last_retry + gap, now + _SOONEST), now + _LONGEST)
        return self._last_retry - now


class AdmissionInterceptor(Interceptor):
    """Starts an activity once its tenant's share of the worker has room.

    Steps that Temporal hands out go back to it. Local activities cannot; those that do short steps
    wait here, which costs next to nothing. Activities that only begin or end a run do not wait.
    """

    def __init__(self, slots: WorkerSlots) -> None:
        self._slots = slots
        self._short = defaultdict[str, asyncio.Semaphore](lambda: asyncio.Semaphore(_SHORT_AT_ONCE))

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _Admission(next, self._slots, self._short)


class _Admission(ActivityInboundInterceptor):
    def __init__(
        self,
        next: ActivityInboundInterceptor,
        slots: WorkerSlots,
        short: defaultdict[str, asyncio.Semaphore],
    ) -> None:
        super().__init__(next)
        self._slots = slots
        self._short = short

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: ANN401 - Temporal's signature
        argument: StepRef | RunRef | RunEnd = input.args[0]
        info = activity.info()
        if not info.is_local:
            waited = info.started_time - info.current_attempt_scheduled_time
            ACTIVITY_QUEUE_SECONDS.observe(max(0.0, waited.total_seconds()))
        if not isinstance(argument, StepRef):
            return await self.next.execute_activity(input)
        if info.is_local:
            async with self._short[argument.tenant_id]:
                return await self.next.execute_activity(input)
        try:
            with self._slots.hold(argument.tenant_id):
                return await self.next.execute_activity(input)
        except TenantShareTaken as taken:
            raise retry_later(taken.seconds) from None


def worker_stops() -> bool:
    """Return whether the worker finishes what is under way, and is to begin nothing more."""
    return activity.in_activity() and activity.is_worker_shutdown()


def retry_later(seconds: float) -> ApplicationError:
    """Return the error that hands an activity back to Temporal for a while."""
    HANDED_BACK.inc()
    jitter = 0.75 + random.random() / 4  # noqa: S311 - a jitter
    return ApplicationError(
        "this worker begins nothing more of the tenant: its share is taken, or the worker stops",
        type=TENANT_SHARE_TAKEN,
        next_retry_delay=timedelta(seconds=seconds * jitter),
        category=ApplicationErrorCategory.BENIGN,
    )
