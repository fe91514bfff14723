"""Ends the calls of dead processes that nobody asks for again.

A call is taken for abandoned when its lease expired three lease lengths ago: a process that stood
still for a while, or could not reach the database, has renewed it by then. A call is changed only
under its row's lock and while no lease is live; a process that wakes up even later still records
what it paid.
"""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from llm_gateway.app.recover import PROCESS_DIED
from llm_gateway.errors import ReplyDisplaced
from llm_gateway.store import calls, kept_replies, pending_work
from servicekit.call import acting_as, on_behalf_of
from servicekit.errors import DomainError
from servicekit.identity import workload_principal

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from dataplane.tenants import DataPlane
    from llm_gateway.app.recover import CallRecovery
    from llm_gateway.domain.calls import CallLease, LlmCall
    from llm_gateway.ledger.outcomes import Outcomes

EXPIRED_LEASE_LENGTHS = 3
"""How many times its length ago a lease must have expired."""
_PAGE_SIZE = 100
_log = logging.getLogger(__name__)


class Collector:
    """Goes through the tenants that are due, and ends abandoned calls there."""

    def __init__(
        self, data: DataPlane, outcomes: Outcomes, recovery: CallRecovery, process: CallLease
    ) -> None:
        self._data = data
        self._outcomes = outcomes
        self._recovery = recovery
        self._lease = replace(process, owner=f"{process.owner}/collector")
        self._expired_seconds = EXPIRED_LEASE_LENGTHS * process.seconds

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Collect inside the block."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()

    async def _run(self) -> None:
        added = False
        while True:
            try:
                added = added or await self._add_all()
                while (tenant_id := await self._claim()) is not None:
                    await self._poll(tenant_id)
            except DomainError as error:
                _log.warning(
                    "the collector has to wait",
                    extra={"event": "collector.delayed", "why": error.message},
                )
            except Exception:
                _log.exception("the collector broke off", extra={"event": "collector.crashed"})
            await asyncio.sleep(self._lease.seconds * random.uniform(0.75, 1.25))  # noqa: S311 - a jitter

    async def _add_all(self) -> bool:
        async with self._data.management.connection() as connection:
            await pending_work.add(connection, self._data.directory.active())
        return True

    async def _claim(self) -> str | None:
        async with self._data.management.connection() as connection:
            return await pending_work.claim(connection)

    async def _poll(self, tenant_id: str) -> None:
        """End a tenant's abandoned calls, and schedule the next poll."""
        try:
            active = tenant_id in self._data.directory.active()
            work_left = active and await self._collect(tenant_id)
        except DomainError as error:
            _log.warning(
                "a tenant could not be visited",
                extra={
                    "event": "collector.tenant_failed",
                    "tenant_id": tenant_id,
                    "why": error.message,
                },
            )
            work_left = True
        async with self._data.management.connection() as connection:
            if work_left:
                await pending_work.reschedule(connection, tenant_id, self._expired_seconds)
            else:
                await pending_work.complete(connection, tenant_id)

    async def _collect(self, tenant_id: str) -> bool:
        """End abandoned calls; return whether calls are still held, or replies kept."""
        for list_calls in (self._expired, self._with_kept_reply):
            last = 0
            while found := await list_calls(tenant_id, last):
                for call in found:
                    await self._end(tenant_id, call)
                last = found[-1].id
        async with self._data.tenants.connection(tenant_id) as connection:
            return await calls.any_open(connection) or await kept_replies.exist(connection)

    async def _expired(self, tenant_id: str, after: int) -> tuple[LlmCall, ...]:
        async with self._data.tenants.connection(tenant_id) as connection:
            return await calls.list_expired(connection, self._expired_seconds, after, _PAGE_SIZE)

    async def _with_kept_reply(self, tenant_id: str, after: int) -> tuple[LlmCall, ...]:
        async with self._data.tenants.connection(tenant_id) as connection:
            return await calls.list_with_kept_reply(connection, after, _PAGE_SIZE)

    async def _end(self, tenant_id: str, call: LlmCall) -> None:
        """Settle a call from its stored or kept reply, or else end it; a failure is logged."""
        with on_behalf_of(tenant_id), acting_as(workload_principal("llm-gateway")):
            try:
                if not await self._settle(tenant_id, call):
                    await self._outcomes.end_expired(tenant_id, call.key, PROCESS_DIED)
            except DomainError as error:
                _log.warning(
                    "a call that was left behind could not be ended",
                    extra={
                        "event": "llm_call.collection_failed",
                        "tenant_id": tenant_id,
                        "call": str(call.key),
                        "why": error.message,
                    },
                )

    async def _settle(self, tenant_id: str, call: LlmCall) -> bool:
        try:
            return await self._recovery.settle(tenant_id, call, self._lease) is not None
        except ReplyDisplaced:
            return False
