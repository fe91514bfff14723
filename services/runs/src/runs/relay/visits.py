"""Visits to the tenants that have work."""

from __future__ import annotations

import asyncio
import logging
import random
from datetime import timedelta
from typing import TYPE_CHECKING

from runs.app.endings import Endings
from runs.errors import TemporalUnavailable
from runs.relay.messages import RETRY, Messenger
from runs.relay.reconciler import SILENCE, Reconciler
from runs.relay.usage import UsageChecks
from servicekit.errors import DomainError

if TYPE_CHECKING:
    from dataplane.tenants import DataPlane
    from runs.launcher import Launcher
    from runs.peers.llm_gateway import LlmGateway
    from runs.store.stores import Stores

_LOOK_SECONDS = 1.0
_SWEEP_SECONDS = 86_400.0
_COME_BACK = timedelta(seconds=30)
_LEASE = timedelta(seconds=60)
_TENANTS = 8

_log = logging.getLogger(__name__)


class Relay:
    def __init__(
        self,
        data: DataPlane,
        stores: Stores,
        launcher: Launcher,
        gateway: LlmGateway,
        silence: timedelta = SILENCE,
    ) -> None:
        self._data = data
        self._stores = stores
        endings = Endings(data.tenants, stores, launcher)
        self._messenger = Messenger(data.tenants, stores.outbox, launcher, endings)
        self._reconciler = Reconciler(data.tenants, stores, launcher, endings, silence)
        self._usage = UsageChecks(data.tenants, stores.usage, gateway)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to visit tenants as they are due, and all of them once a day."""
        self._tasks = [asyncio.create_task(self._visit_on()), asyncio.create_task(self._sweep_on())]

    async def stop(self) -> None:
        """Visit no longer; what was begun is done by whoever is next."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def visit_due(self) -> int:
        """Visit the tenants that are due now, a few at most; return how many there were."""
        async with self._data.management.connection() as connection:
            due = await self._stores.pending_work.claim(connection, _TENANTS, _LEASE)
        await asyncio.gather(*map(self._visit, due))
        return len(due)

    async def sweep(self) -> None:
        """Note every tenant that has work, in case that a note was lost."""
        for tenant_id in self._data.directory.active():
            try:
                if await self._work_left(tenant_id):
                    async with self._data.management.connection() as connection:
                        await self._stores.pending_work.note(connection, tenant_id, timedelta())
            except DomainError as error:
                _log.info("a tenant was not swept", extra=_about(tenant_id, error))
            except Exception:
                _log.exception("a sweep failed", extra={"tenant_id": tenant_id})

    async def _visit_on(self) -> None:
        while True:
            visited = 0
            try:
                visited = await self.visit_due()
            except DomainError as error:
                _log.warning("the tenants to visit are not known", extra={"why": error.message})
            except Exception:
                _log.exception("the tenants to visit are not known")
            if visited < _TENANTS:
                await asyncio.sleep(_LOOK_SECONDS * _jitter())

    async def _sweep_on(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS * _jitter())
            await self.sweep()

    async def _visit(self, tenant_id: str) -> None:
        """Do what is due for a tenant, and settle when to come back; else the lease does."""
        try:
            delay = await self._work(tenant_id)
            async with self._data.management.connection() as connection:
                if delay is None:
                    await self._stores.pending_work.forget(connection, tenant_id)
                await self._stores.pending_work.come_back(connection, tenant_id, delay or _LEASE)
        except DomainError as error:
            _log.info("a visit broke off", extra=_about(tenant_id, error))
        except Exception:
            _log.exception("a visit failed", extra={"tenant_id": tenant_id})

    async def _work(self, tenant_id: str) -> timedelta | None:
        """Do what is due for a tenant; return when to come back, None if nothing is left to do."""
        try:
            await self._messenger.deliver(tenant_id)
            await self._reconciler.reconcile(tenant_id)
        except TemporalUnavailable as error:
            _log.info("Temporal is waited for", extra=_about(tenant_id, error))
            return RETRY
        due = await self._usage.check(tenant_id)
        if due is None and not await self._work_left(tenant_id):
            return None
        delay = _COME_BACK * _jitter()
        return delay if due is None else max(min(due, delay), timedelta())

    async def _work_left(self, tenant_id: str) -> bool:
        async with self._data.tenants.connection(tenant_id) as connection:
            return await self._stores.open_runs.work_left(connection)


def _jitter() -> float:
    """Keep replicas from looking at the same moment."""
    return 0.75 + random.random() / 2  # noqa: S311 - no secret


def _about(tenant_id: str, error: DomainError) -> dict[str, str]:
    return {"tenant_id": tenant_id, "why": error.message}
