"""Who the tenants are, told to those who watch."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from tenant.errors import ServerUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable

    from tenant.domain.tenants import Tenant
    from tenant.store.changes import ChangeFeed
    from tenant.store.tenants import TenantStore

# How long a notification that was lost, or a connection that is dead, may go unnoticed.
_RECHECK_SECONDS = 5.0
_RETRY_SECONDS = 0.5
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Changed:
    tenant: Tenant


@dataclass(frozen=True, slots=True)
class Removed:
    tenant_id: str


@dataclass(frozen=True, slots=True)
class Synced:
    """Every tenant there is has been told."""


Event: TypeAlias = "Changed | Removed | Synced"


class _Watcher:
    """What one watcher has not been told yet: ids, so that a slow one holds no more than those."""

    def __init__(self, tenant_ids: Iterable[str]) -> None:
        self.pending = dict.fromkeys(tenant_ids)
        self.news = asyncio.Event()

    def tell(self, tenant_id: str) -> None:
        self.pending[tenant_id] = None
        self.news.set()


class Directory:
    """Holds the tenants as they are, whichever process changes them."""

    def __init__(self, feed: ChangeFeed, tenants: TenantStore) -> None:
        self._feed = feed
        self._tenants = tenants
        self._entries: dict[str, Tenant] = {}
        self._watchers: set[_Watcher] = set()
        self._loaded = asyncio.Event()
        self._closed = False

    async def follow(self) -> None:
        """Keep up with the registry until cancelled; while that is away, the last word stands."""
        while True:
            try:
                await self._follow_once()
            except (ServerUnavailable, TimeoutError) as error:
                _log.warning("the registry cannot be heard", extra={"why": str(error)})
            except Exception:
                _log.exception("the registry could not be followed")
            await asyncio.sleep(_RETRY_SECONDS)

    async def watch(self, covers: Callable[[str], bool]) -> AsyncGenerator[Event]:
        """Tell of every tenant covered, then Synced, then of each that changes, until `close`."""
        await self._loaded.wait()
        watcher = _Watcher(self._entries)
        self._watchers.add(watcher)
        try:
            for event in self._untold(watcher, covers):
                yield event
            yield Synced()
            while not self._closed:
                await watcher.news.wait()
                watcher.news.clear()
                for event in self._untold(watcher, covers):
                    yield event
        finally:
            self._watchers.discard(watcher)

    async def close(self) -> None:
        """End every watch: the watchers are to go to another server."""
        self._closed = True
        self._loaded.set()
        for watcher in self._watchers:
            watcher.news.set()

    def _untold(self, watcher: _Watcher, covers: Callable[[str], bool]) -> Iterable[Event]:
        while watcher.pending:
            tenant_id = next(iter(watcher.pending))
            del watcher.pending[tenant_id]
            if covers(tenant_id):
                tenant = self._entries.get(tenant_id)
                yield Removed(tenant_id) if tenant is None else Changed(tenant)

    async def _follow_once(self) -> None:
        async with self._feed.listening() as changes:
            while True:
                async with asyncio.timeout(_RECHECK_SECONDS):
                    every = await self._tenants.every(changes.connection)
                self._update({entry.tenant_id for entry in every} | self._entries.keys(), every)
                self._loaded.set()
                while heard := await changes.wait(_RECHECK_SECONDS):
                    self._update(heard, await self._tenants.some(changes.connection, heard))

    def _update(self, tenant_ids: Iterable[str], found: Iterable[Tenant]) -> None:
        """Take over how these tenants are: as found, or gone."""
        now = {tenant.tenant_id: tenant for tenant in found}
        for tenant_id in tenant_ids:
            tenant = now.get(tenant_id)
            if tenant != self._entries.get(tenant_id):
                self._entries.pop(tenant_id, None)
                if tenant is not None:
                    self._entries[tenant_id] = tenant
                for watcher in self._watchers:
                    watcher.tell(tenant_id)
