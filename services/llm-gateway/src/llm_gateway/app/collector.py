"""Ends the calls that a dead process left behind, where nobody asks for them again.

A call is left behind when its lease ran out long ago: a process that froze for a while, or could
not reach the database, has renewed it by then. What is done to a call is done under its row's lock,
and only while no lease is live; a process that wakes up even later still books what it paid.
"""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from llm_gateway.app.recovery import DIED
from llm_gateway.errors import ReplyDisplaced
from servicekit.call import acting_as, on_behalf_of
from servicekit.errors import DomainError
from servicekit.identity import workload_principal

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from dataplane.tenants import DataPlane
    from llm_gateway.app.recovery import Recovery
    from llm_gateway.domain.calls import Call, Lease
    from llm_gateway.ledger.outcomes import Outcomes
    from llm_gateway.store.stores import Stores

PATIENCE = 3
"""For how many times its length a lease must have run out."""
_AT_ONCE = 100
_log = logging.getLogger(__name__)


class Collector:
    def __init__(
        self,
        data: DataPlane,
        stores: Stores,
        outcomes: Outcomes,
        recovery: Recovery,
        process: Lease,
    ) -> None:
        self._data = data
        self._work = stores.pending_work
        self._calls = stores.calls
        self._replies = stores.replies
        self._outcomes = outcomes
        self._recovery = recovery
        self._lease = replace(process, owner=f"{process.owner}/collector")
        self._patience_seconds = PATIENCE * process.seconds

    @asynccontextmanager
    async def working(self) -> AsyncGenerator[None]:
        """Visit tenants that are due, inside the block."""
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
                    await self._visit(tenant_id)
            except DomainError as error:
                _log.warning("the collector has to wait", extra={"why": error.message})
            except Exception:
                _log.exception("the collector broke off")
            await asyncio.sleep(self._lease.seconds * random.uniform(0.75, 1.25))  # noqa: S311 - a jitter

    async def _add_all(self) -> bool:
        async with self._data.management.connection() as connection:
            await self._work.add(connection, self._data.directory.active())
        return True

    async def _claim(self) -> str | None:
        async with self._data.management.connection() as connection:
            return await self._work.claim(connection)

    async def _visit(self, tenant_id: str) -> None:
        """End what was left behind at one tenant, and say when to come again."""
        try:
            active = tenant_id in self._data.directory.active()
            left = active and await self._collect(tenant_id)
        except DomainError as error:
            away = {"tenant_id": tenant_id, "why": error.message}
            _log.warning("a tenant could not be visited", extra=away)
            left = True
        async with self._data.management.connection() as connection:
            if left:
                await self._work.come_back(connection, tenant_id, self._patience_seconds)
            else:
                await self._work.rest(connection, tenant_id)

    async def _collect(self, tenant_id: str) -> bool:
        """End what was left behind; tell whether calls are held, or replies kept."""
        for left in (self._left_behind, self._kept):
            last = 0
            while calls := await left(tenant_id, last):
                for call in calls:
                    await self._end(tenant_id, call)
                last = calls[-1].id
        async with self._data.tenants.connection(tenant_id) as connection:
            if await self._calls.any_open(connection):
                return True
            return await self._replies.any(connection)

    async def _left_behind(self, tenant_id: str, after: int) -> tuple[Call, ...]:
        async with self._data.tenants.connection(tenant_id) as connection:
            return await self._calls.left_behind(
                connection, self._patience_seconds, after, _AT_ONCE
            )

    async def _kept(self, tenant_id: str, after: int) -> tuple[Call, ...]:
        async with self._data.tenants.connection(tenant_id) as connection:
            return await self._calls.kept_and_unheld(connection, after, _AT_ONCE)

    async def _end(self, tenant_id: str, call: Call) -> None:
        """Settle a call from its stored or kept reply, or give it up; what cannot be done waits."""
        with on_behalf_of(tenant_id), acting_as(workload_principal("llm-gateway")):
            try:
                if await self._found(tenant_id, call):
                    return
                await self._outcomes.give_up(tenant_id, call.key, DIED)
            except DomainError as error:
                why = {"tenant_id": tenant_id, "call": str(call.key), "why": error.message}
                _log.warning("a call that was left behind could not be ended", extra=why)

    async def _found(self, tenant_id: str, call: Call) -> bool:
        try:
            return await self._recovery.settle(tenant_id, call, self._lease) is not None
        except ReplyDisplaced:
            return False
