"""Which tenants there are and how they are, as the tenant service tells."""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dataplane.outage import Outage
from nagaya.tenant.v1 import tenant_pb2, tenant_service_pb2, tenant_service_pb2_grpc
from servicekit.errors import DomainError

if TYPE_CHECKING:
    from collections.abc import Callable

    import grpc

_FIRST_DELAY = 0.1
_LAST_DELAY = 5.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Entry:
    """What the directory says of one tenant."""

    active: bool
    state: str
    """Such as `suspended`."""
    generation: int


class TenantDirectory:
    """Follows the registry of tenants. While the tenant service is away, the last word stands."""

    def __init__(self, tenant_channel: grpc.aio.Channel) -> None:
        self._stub = tenant_service_pb2_grpc.TenantServiceStub(tenant_channel)
        self._entries: dict[str, Entry] = {}
        self._synced = asyncio.Event()
        self._listeners: list[Callable[[str], None]] = []
        self._task: asyncio.Task[None] | None = None
        self._outage = Outage(_log, "the registry of tenants is away")

    def start(self) -> None:
        """Begin to follow."""
        self._task = asyncio.create_task(self._follow())

    async def close(self) -> None:
        """Follow no longer."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))

    async def ready(self) -> None:
        """Wait until the registry has been read in full once."""
        await self._synced.wait()

    def active(self) -> tuple[str, ...]:
        """Return the ids of the tenants in use, sorted."""
        return tuple(sorted(id for id, entry in self._entries.items() if entry.active))

    def find(self, tenant_id: str) -> Entry | None:
        """Return what is known of a tenant; None when the directory has not heard of it (yet)."""
        return self._entries.get(tenant_id)

    def on_change(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with the id of each tenant that changes or goes."""
        self._listeners.append(listener)

    async def _follow(self) -> None:
        delay = _FIRST_DELAY
        while True:
            try:
                await self._watch()
                delay = _FIRST_DELAY
            except DomainError as error:
                self._outage.goes_on(why=error.message)
            except Exception:
                # A listener's defect must not let the directory grow old in silence.
                _log.exception("the registry of tenants could not be followed")
            await asyncio.sleep(delay * (0.5 + random.random()))  # noqa: S311 - a jitter
            delay = min(2 * delay, _LAST_DELAY)

    async def _watch(self) -> None:
        """Take a whole snapshot, then changes, until the stream ends."""
        seen: set[str] | None = set()
        request = tenant_service_pb2.WatchTenantsRequest()
        async for event in self._stub.WatchTenants(request):
            self._outage.is_over()
            kind = event.WhichOneof("event")
            if kind == "tenant":
                self._put(event.tenant)
                if seen is not None:
                    seen.add(event.tenant.tenant_id)
            elif kind == "removed_tenant_id":
                self._remove(event.removed_tenant_id)
            elif seen is not None:
                for tenant_id in self._entries.keys() - seen:
                    self._remove(tenant_id)
                seen = None
                self._synced.set()

    def _put(self, tenant: tenant_pb2.Tenant) -> None:
        state = tenant_pb2.TenantState.Name(tenant.state).removeprefix("TENANT_STATE_").lower()
        active = tenant.state == tenant_pb2.TENANT_STATE_ACTIVE
        entry = Entry(active, state, tenant.generation)
        if self._entries.get(tenant.tenant_id) != entry:
            self._entries[tenant.tenant_id] = entry
            self._tell(tenant.tenant_id)

    def _remove(self, tenant_id: str) -> None:
        if self._entries.pop(tenant_id, None) is not None:
            self._tell(tenant_id)

    def _tell(self, tenant_id: str) -> None:
        for listener in self._listeners:
            listener(tenant_id)
