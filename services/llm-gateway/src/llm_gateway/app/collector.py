"""Ends the calls of dead processes that nobody asks for again, and deletes replies in time.

A call is taken for abandoned when its lease expired three lease lengths ago: a process that stood
still for a while, or could not reach the database, has renewed it by then. A call is changed only
under its row's lock and while no lease is live; a process that wakes up even later still records
what it paid.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from dataplane.pending_work import PendingWorkTable
from llm_gateway.app.recover import PROCESS_DIED
from llm_gateway.errors import ReplyDisplaced
from llm_gateway.metrics import UNKNOWN
from llm_gateway.store import calls, kept_replies, replies
from servicekit.call import acting_as, on_behalf_of
from servicekit.errors import DomainError
from servicekit.identity import workload_principal

if TYPE_CHECKING:
    from dataplane.tenants import TenantPools
    from llm_gateway.app.recover import CallRecovery
    from llm_gateway.domain.calls import LlmCall
    from llm_gateway.ledger.outcomes import Outcomes

_EXPIRED_LEASE_LENGTHS = 3
_REWRITE_SECONDS = 60.0
_PAGE_SIZE = 100
_DAY_SECONDS = 86_400.0
_DELETIONS = 1000
_log = logging.getLogger(__name__)


def pending_calls(lease_seconds: float) -> PendingWorkTable:
    """Return the table of the tenants to poll for abandoned calls.

    A call that begins when its tenant is scheduled, and whose process dies at once, can be
    collected one lease length and three more later.
    """
    return PendingWorkTable(
        name="llm_gateway_pending_work",
        kind=None,
        delay_seconds=(1 + _EXPIRED_LEASE_LENGTHS) * lease_seconds,
        rewrite_seconds=_REWRITE_SECONDS,
        settle_seconds=2 * _REWRITE_SECONDS,
    )


class Collector:
    """Ends a tenant's abandoned calls, when the poller of pending work asks for it."""

    def __init__(
        self,
        tenants: TenantPools,
        outcomes: Outcomes,
        recovery: CallRecovery,
        lease_seconds: float,
        reply_retention_days: int,
    ) -> None:
        self._tenants = tenants
        self._outcomes = outcomes
        self._recovery = recovery
        self._retention_seconds = reply_retention_days * _DAY_SECONDS
        self.expired_seconds = _EXPIRED_LEASE_LENGTHS * lease_seconds
        """How long ago a lease must have expired."""

    async def collect(self, tenant_id: str) -> float | None:
        """End abandoned calls, delete old replies; return in how many seconds to poll again.

        None when no call is held any more, and no reply kept.
        """
        for list_calls in (self._expired, self._with_kept_reply):
            last = 0
            while found := await list_calls(tenant_id, last):
                for call in found:
                    await self._end(tenant_id, call)
                last = found[-1].id
        if self._retention_seconds:
            await self._delete_old_replies(tenant_id)
        async with self._tenants.connection(tenant_id) as connection:
            left = await calls.any_open(connection) or await kept_replies.exist(connection)
        return self.expired_seconds if left else None

    async def _expired(self, tenant_id: str, after: int) -> tuple[LlmCall, ...]:
        async with self._tenants.connection(tenant_id) as connection:
            return await calls.list_expired(connection, self.expired_seconds, after, _PAGE_SIZE)

    async def _with_kept_reply(self, tenant_id: str, after: int) -> tuple[LlmCall, ...]:
        async with self._tenants.connection(tenant_id) as connection:
            return await calls.list_with_kept_reply(connection, after, _PAGE_SIZE)

    async def _delete_old_replies(self, tenant_id: str) -> None:
        deleted = _DELETIONS
        while deleted == _DELETIONS:
            async with self._tenants.connection(tenant_id) as connection:
                deleted = await replies.delete_older(
                    connection, self._retention_seconds, _DELETIONS
                )

    async def _end(self, tenant_id: str, call: LlmCall) -> None:
        """Settle a call from its stored or kept reply, or else end it; a failure is logged."""
        with on_behalf_of(tenant_id), acting_as(workload_principal("llm-gateway")):
            try:
                if not await self._settle(tenant_id, call):
                    await self._outcomes.end_expired(tenant_id, call.key, PROCESS_DIED)
                    if call.open_attempt:
                        UNKNOWN.labels("process_died").inc()
            except DomainError as error:
                _log.warning(
                    "an abandoned call could not be ended",
                    extra={
                        "event": "llm_call.collection_failed",
                        "tenant_id": tenant_id,
                        "call": str(call.key),
                        "why": error.message,
                    },
                )

    async def _settle(self, tenant_id: str, call: LlmCall) -> bool:
        try:
            return await self._recovery.settle(tenant_id, call) is not None
        except ReplyDisplaced:
            return False
