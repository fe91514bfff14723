"""The collector removes what nobody finished: expired uploads, and objects without a file's row.

Every object has a row in `artifacts` or in `artifact_writes`. The collector takes over expired
write leases, checks whether their files were committed, and only then deletes the objects. Once a
day a sweep of each tenant inserts expired leases for objects that have neither row.
"""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

from artifacts.errors import PathInvalid, StoreUnavailable
from artifacts.store import artifacts, pending_work, uploads, writes
from servicekit.errors import DomainError
from servicekit.times import now

if TYPE_CHECKING:
    from artifacts.config import CollectorConfig
    from artifacts.domain.keys import BucketLayout
    from artifacts.object_store.client import ObjectStore, StoredObject
    from artifacts.store.pending_work import Work
    from dataplane.tenants import DataPlane

_SWEEP_SECONDS = 24 * 3600.0
_AWAY_SECONDS = 3600.0
_LEASES_AT_ONCE = 16
_LEASE_SECONDS = 5.0  # plus finding and deleting an object: below the 30 s of a takeover
_log = logging.getLogger(__name__)


class Collector:
    """Visits the tenants that are due, one at a time; any number of processes may run one."""

    def __init__(
        self, data: DataPlane, layout: BucketLayout, objects: ObjectStore, config: CollectorConfig
    ) -> None:
        self._data = data
        self._layout = layout
        self._objects = objects
        self._config = config
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to visit tenants that are due."""
        self._running = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Cancel the current visit; another visit repeats it after ten minutes."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait((self._running,))

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._config.interval_seconds)
            try:
                await self.poll()
            except DomainError as error:
                _log.warning(
                    "the collector has to wait",
                    extra={"event": "collector.poll_delayed", "why": error.message},
                )
            except Exception:
                _log.exception("the collector failed", extra={"event": "collector.poll_failed"})

    async def poll(self) -> int:
        """Visit the tenants that are due now; return how many objects were removed."""
        async with self._data.management.connection() as connection:
            active = self._data.directory.active()
            await pending_work.note_sweeps(connection, list(active), _SWEEP_SECONDS)
        removed = 0
        while (work := await self._claim()) is not None:
            try:
                removed += await self._visit(work)
            except DomainError as error:
                _log.warning(
                    "a tenant could not be visited",
                    extra={
                        "event": "collector.visit_failed",
                        "tenant_id": work.tenant_id,
                        "why": error.message,
                    },
                )
                await self._reschedule(work, _AWAY_SECONDS)
        return removed

    async def collect(self, tenant_id: str) -> int:
        """Delete expired uploads, and objects of expired leases; return how many objects."""
        async with self._data.tenants.connection(tenant_id) as connection:
            await uploads.delete_expired(connection)
        removed = 0
        while True:
            taken, gone = await self._collect_some(tenant_id)
            removed += gone
            if taken < _LEASES_AT_ONCE:
                return removed

    async def sweep(self, tenant_id: str) -> int:
        """List a tenant's objects, and insert expired leases for those without a row."""
        orphans = 0
        limit = now() - timedelta(seconds=self._config.grace_seconds)
        async for page in self._objects.pages(f"{tenant_id}/"):
            old = [found for found in page if found.modify_time < limit]
            paths = [path for found in old if (path := self._path(tenant_id, found)) is not None]
            async with self._data.tenants.connection(tenant_id) as connection:
                orphans += await writes.insert_orphans(connection, paths)
        if orphans:
            _log.warning(
                "objects without rows",
                extra={
                    "event": "collector.orphans_found",
                    "tenant_id": tenant_id,
                    "count": orphans,
                },
            )
        return orphans

    async def _claim(self) -> Work | None:
        async with self._data.management.connection() as connection:
            return await pending_work.claim(connection)

    async def _reschedule(self, work: Work, seconds: float) -> None:
        async with self._data.management.connection() as connection:
            await pending_work.postpone(connection, work, seconds)

    async def _visit(self, work: Work) -> int:
        """Do what is due for one tenant, and schedule its next visit."""
        if work.tenant_id not in self._data.directory.active():
            await self._reschedule(work, _AWAY_SECONDS)
            return 0
        if work.kind == "sweep":
            await self.sweep(work.tenant_id)
            await self._reschedule(work, _SWEEP_SECONDS)
            return await self.collect(work.tenant_id)
        removed = await self.collect(work.tenant_id)
        async with self._data.tenants.connection(work.tenant_id) as connection:
            left = await writes.any_unfinished(connection)
        async with self._data.management.connection() as connection:
            if left or not await pending_work.finish(connection, work):
                await pending_work.postpone(connection, work, self._config.grace_seconds)
        return removed

    async def _collect_some(self, tenant_id: str) -> tuple[int, int]:
        """Take over and delete some expired leases; return how many, and how many objects."""
        writer, started, removed = uuid4(), time.monotonic(), 0
        async with self._data.tenants.connection(tenant_id) as connection:
            taken = await writes.take_expired(
                connection, writer, self._config.grace_seconds, _LEASES_AT_ONCE
            )
            # Only now: this query sees earlier commits, and later ones need our leases.
            committed = await artifacts.find_all(connection, self._layout, tenant_id, taken)
        for path in taken:
            if path not in committed:
                if time.monotonic() - started > _LEASE_SECONDS:
                    raise StoreUnavailable("the object store is too slow to collect in")
                if await self._objects.delete(self._layout.parse(tenant_id, path).object_name):
                    removed += 1
                    _log.info(
                        "an orphan was removed",
                        extra={
                            "event": "collector.orphan_removed",
                            "tenant_id": tenant_id,
                            "path": path,
                        },
                    )
        async with self._data.tenants.connection(tenant_id) as connection:
            await writes.delete(connection, writer, taken)
        return len(taken), removed

    def _path(self, tenant_id: str, found: StoredObject) -> str | None:
        """Return the path of an object; None if its name cannot be that of a file."""
        try:
            return self._layout.parse(tenant_id, self._layout.path_of(found.object_name)).path
        except PathInvalid:
            _log.warning(
                "an object's name is not that of a file",
                extra={"event": "collector.foreign_object", "object_name": found.object_name},
            )
            return None
