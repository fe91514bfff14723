"""The watch cache of tenants: follows the registry, and serves WatchTenants."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from dataplane.databases import MANAGEMENT
from tenant.errors import ServerUnavailable
from tenant.store import credentials, tenants

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable

    from tenant.domain.tenants import Tenant
    from tenant.store.notifications import NotificationListener

# How long a lost notification, or a dead connection, may go unnoticed.
_RECHECK_SECONDS = 5.0
_RETRY_SECONDS = 0.5
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TenantChanged:
    """A tenant as it is now."""

    tenant: Tenant


@dataclass(frozen=True, slots=True)
class TenantRemoved:
    """A tenant that is no longer registered."""

    tenant_id: str


@dataclass(frozen=True, slots=True)
class Synced:
    """All tenants have been sent once."""


@dataclass(frozen=True, slots=True)
class ManagementLoginsChanged:
    """The services' roles of the management database have new passwords."""


Event: TypeAlias = "TenantChanged | TenantRemoved | Synced | ManagementLoginsChanged"


class _Watcher:
    """What one watcher has not received yet: ids only, so that a slow one costs little memory."""

    def __init__(self, tenant_ids: Iterable[str]) -> None:
        self.pending = dict.fromkeys(tenant_ids)
        self.changed = asyncio.Event()

    def notify(self, tenant_id: str) -> None:
        self.pending[tenant_id] = None
        self.changed.set()


class WatchCache:
    """The current state of all tenants, whichever process changes them."""

    def __init__(
        self, listener: NotificationListener, on_logins_changed: Callable[[], None]
    ) -> None:
        self._listener = listener
        self._on_logins_changed = on_logins_changed
        self._logins = 0
        self._entries: dict[str, Tenant] = {}
        self._watchers: set[_Watcher] = set()
        self._loaded = asyncio.Event()
        self._closed = False
        self._following: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to follow the registry; while it is unreachable the last known state is kept."""
        self._following = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Follow the registry no longer."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait((self._following,))

    async def watch(self, covers: Callable[[str], bool]) -> AsyncGenerator[Event]:
        """Yield every covered tenant, then Synced, then each that changes, until `close`.

        Nothing after `close`: what is known then may be less than there is.
        """
        await self._loaded.wait()
        if self._closed:
            return
        watcher = _Watcher(self._entries)
        self._watchers.add(watcher)
        try:
            for event in self._pending_events(watcher, covers):
                yield event
            yield Synced()
            while not self._closed:
                await watcher.changed.wait()
                watcher.changed.clear()
                for event in self._pending_events(watcher, covers):
                    yield event
        finally:
            self._watchers.discard(watcher)

    async def close(self) -> None:
        """End every watch, so that the watchers connect to another server."""
        self._closed = True
        self._loaded.set()
        for watcher in self._watchers:
            watcher.changed.set()

    def _pending_events(self, watcher: _Watcher, covers: Callable[[str], bool]) -> Iterable[Event]:
        while watcher.pending:
            tenant_id = next(iter(watcher.pending))
            del watcher.pending[tenant_id]
            if tenant_id == MANAGEMENT and covers(tenant_id):
                yield ManagementLoginsChanged()
            elif covers(tenant_id):
                tenant = self._entries.get(tenant_id)
                yield TenantRemoved(tenant_id) if tenant is None else TenantChanged(tenant)

    async def _follow(self) -> None:
        while True:
            try:
                await self._follow_once()
            except (ServerUnavailable, TimeoutError) as error:
                _log.warning(
                    "the registry cannot be reached",
                    extra={"event": "watch_cache.registry_unreachable", "why": str(error)},
                )
            except Exception:
                _log.exception(
                    "the registry could not be followed",
                    extra={"event": "watch_cache.update_failed"},
                )
            await asyncio.sleep(_RETRY_SECONDS)

    async def _follow_once(self) -> None:
        async with self._listener.listening() as notifications:
            begun_with = await credentials.management_generation(notifications.connection)
            while True:
                async with asyncio.timeout(_RECHECK_SECONDS):
                    found = await tenants.list_all(notifications.connection)
                    logins = await credentials.management_generation(notifications.connection)
                self._set_logins(logins)
                if logins != begun_with:
                    return  # this connection, too, is made anew
                self._update({tenant.tenant_id for tenant in found} | self._entries.keys(), found)
                self._loaded.set()
                while changed := await notifications.wait(_RECHECK_SECONDS):
                    self._update(
                        changed, await tenants.find_many(notifications.connection, changed)
                    )
                    if MANAGEMENT in changed:
                        break

    def _set_logins(self, generation: int) -> None:
        """Note the generation of the logins to the management database; tell who has older ones."""
        if generation == self._logins:
            return
        if self._logins:
            self._on_logins_changed()
            for watcher in self._watchers:
                watcher.notify(MANAGEMENT)
        self._logins = generation

    def _update(self, tenant_ids: Iterable[str], found: Iterable[Tenant]) -> None:
        """Replace the entries of these tenants by `found`, and notify watchers of differences."""
        now = {tenant.tenant_id: tenant for tenant in found}
        for tenant_id in tenant_ids:
            tenant = now.get(tenant_id)
            if tenant != self._entries.get(tenant_id):
                self._entries.pop(tenant_id, None)
                if tenant is not None:
                    self._entries[tenant_id] = tenant
                for watcher in self._watchers:
                    watcher.notify(tenant_id)
