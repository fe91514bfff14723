"""A copy of the registry of tenants, kept up to date by the stream WatchTenants."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nagaya.tenant.v1 import tenant_pb2, tenant_service_pb2, tenant_service_pb2_grpc
from servicekit.errors import DomainError
from servicekit.retries import DEFAULT_BACKOFF, RetryLog

if TYPE_CHECKING:
    from collections.abc import Callable

    import grpc

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DirectoryEntry:
    """The state of one tenant."""

    active: bool
    state: str
    """Such as `suspended`."""
    generation: int
    path_prefix: str = ""
    """What the paths of its files begin with; empty for the bucket's name, `/` and its id."""


class TenantDirectory:
    """Follows the registry; while the tenant service is away, the last known state counts."""

    def __init__(self, tenant_channel: grpc.aio.Channel) -> None:
        self._stub = tenant_service_pb2_grpc.TenantServiceStub(tenant_channel)
        self._entries: dict[str, DirectoryEntry] = {}
        self._synced = asyncio.Event()
        self._listeners: list[Callable[[str], None]] = []
        self._task: asyncio.Task[None] | None = None
        self._retry_log = RetryLog(
            _log, "tenant_registry.unavailable", "the registry of tenants is away"
        )

    def start(self) -> None:
        """Start to follow the registry."""
        self._task = asyncio.create_task(self._follow())

    async def close(self) -> None:
        """Stop following."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))

    async def ready(self) -> None:
        """Wait until the registry has been read in full once."""
        await self._synced.wait()

    @property
    def is_ready(self) -> bool:
        """Whether the registry has been read in full once."""
        return self._synced.is_set()

    def active(self) -> tuple[str, ...]:
        """Return the ids of the active tenants, sorted."""
        return tuple(sorted(id for id, entry in self._entries.items() if entry.active))

    def find(self, tenant_id: str) -> DirectoryEntry | None:
        """Return the state of a tenant; None when the directory does not know it (yet)."""
        return self._entries.get(tenant_id)

    def path_prefix(self, tenant_id: str) -> str:
        """Return what the paths of a tenant's files begin with; empty where it was never set.

        A tenant that the directory does not know yet has just been created.
        """
        entry = self._entries.get(tenant_id)
        return f"storage/{tenant_id}" if entry is None else entry.path_prefix

    def on_change(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with the id of each tenant that changes; empty: the management logins."""
        self._listeners.append(listener)

    async def _follow(self) -> None:
        delays = DEFAULT_BACKOFF.delays()
        while True:
            try:
                await self._watch()
                delays = DEFAULT_BACKOFF.delays()
            except DomainError as error:
                self._retry_log.failed(error)
            except Exception:
                # A listener's defect must not leave the directory outdated without a word.
                _log.exception(
                    "the registry of tenants could not be followed",
                    extra={"event": "tenant_registry.watch_failed"},
                )
            await asyncio.sleep(next(delays))

    async def _watch(self) -> None:
        """Read the snapshot, then the changes, until the stream ends."""
        seen: set[str] | None = set()
        request = tenant_service_pb2.WatchTenantsRequest()
        async for event in self._stub.WatchTenants(request):
            self._retry_log.succeeded()
            kind = event.WhichOneof("event")
            if kind == "tenant":
                self._put(event.tenant)
                if seen is not None:
                    seen.add(event.tenant.tenant_id)
            elif kind == "removed_tenant_id":
                self._remove(event.removed_tenant_id)
            elif kind == "management_logins_changed":
                self._notify("")  # the management database
            elif seen is not None:
                for tenant_id in self._entries.keys() - seen:
                    self._remove(tenant_id)
                seen = None
                self._synced.set()

    def _put(self, tenant: tenant_pb2.Tenant) -> None:
        state = tenant_pb2.TenantState.Name(tenant.state).removeprefix("TENANT_STATE_").lower()
        active = tenant.state == tenant_pb2.TENANT_STATE_ACTIVE
        entry = DirectoryEntry(active, state, tenant.generation, tenant.path_prefix)
        if self._entries.get(tenant.tenant_id) != entry:
            self._entries[tenant.tenant_id] = entry
            self._notify(tenant.tenant_id)

    def _remove(self, tenant_id: str) -> None:
        if self._entries.pop(tenant_id, None) is not None:
            self._notify(tenant_id)

    def _notify(self, tenant_id: str) -> None:
        for listener in self._listeners:
            listener(tenant_id)
