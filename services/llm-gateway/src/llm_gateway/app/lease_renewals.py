"""Renewing the leases of the calls in flight, those of one tenant together."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Protocol

from llm_gateway.metrics import LEASE_FAILURES
from servicekit.errors import DomainError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_gateway.domain.attempts import AttemptUsage
    from llm_gateway.domain.calls import CallKey, CallLease
    from llm_gateway.ledger.outcomes import Outcomes

_log = logging.getLogger(__name__)


class HeldCall(Protocol):
    """A call in flight, as far as its lease is concerned."""

    call_id: int | None
    """None before its key is reserved."""

    def extend_lease(self, asked_at: float) -> None:
        """Note that the lease was renewed after `asked_at` (of time.monotonic)."""
        ...

    def usage_so_far(self) -> AttemptUsage | None:
        """Return what the attempt in flight has used so far; None when none is in flight."""
        ...


class LeaseRenewals:
    """Renews leases four times in their length, each tenant's in a task of its own."""

    def __init__(self, outcomes: Outcomes, process: CallLease) -> None:
        self._outcomes = outcomes
        self._process = process
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def run(self, calls: Mapping[tuple[str, CallKey], HeldCall]) -> None:
        """Renew the leases of whatever is in `calls`, by tenant and key, until cancelled."""
        while True:
            await asyncio.sleep(self._process.seconds / 4)
            held: dict[str, list[HeldCall]] = {}
            for (tenant_id, _), call in calls.items():
                if call.call_id is not None:
                    held.setdefault(tenant_id, []).append(call)
            for tenant_id, of_tenant in held.items():
                if tenant_id not in self._tasks:  # a slow database delays its own tenant only
                    task = asyncio.create_task(self._renew(tenant_id, of_tenant))
                    self._tasks[tenant_id] = task
                    task.add_done_callback(lambda _, name=tenant_id: self._tasks.pop(name))

    async def _renew(self, tenant_id: str, calls: list[HeldCall]) -> None:
        """Extend leases, and record usage so far: all that is known if this process dies."""
        held = {call.call_id: call for call in calls if call.call_id is not None}
        usages = [usage for call in calls if (usage := call.usage_so_far()) is not None]
        asked_at = time.monotonic()
        try:
            for call_id in await self._outcomes.renew_leases(tenant_id, list(held), self._process):
                held[call_id].extend_lease(asked_at)
            if usages:
                await self._outcomes.update_usage(tenant_id, usages)
        except DomainError as error:
            LEASE_FAILURES.inc()
            _log.warning(
                "leases were not renewed",
                extra={"event": "lease.renewal_failed", "reason": error.reason},
            )
