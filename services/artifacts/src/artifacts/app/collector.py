"""Removes what nobody finished: expired uploads, and objects that have no row.

Every object in the store has a row of its own or a write's. So the collector looks at old writes:
it takes each one's lease, looks whether the file was committed, and only then deletes the object.
A sweep, once a day, compares the store's list with the rows and makes writes of what has neither.
"""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

from artifacts.errors import PathInvalid, StoreUnavailable
from servicekit.errors import DomainError
from servicekit.times import now

if TYPE_CHECKING:
    from artifacts.blobs.store import Blob, Blobs
    from artifacts.config import CollectorConfig
    from artifacts.domain.keys import KeySpace
    from artifacts.store.pending_work import Work
    from artifacts.store.stores import Stores
    from dataplane.tenants import DataPlane

_SWEEP_SECONDS = 24 * 3600.0
_AWAY_SECONDS = 3600.0
_AT_ONCE = 16
_FRESH_SECONDS = 5.0  # with what finding and deleting may take, below the 30 s of a takeover
_log = logging.getLogger(__name__)


class Collector:
    def __init__(
        self,
        data: DataPlane,
        stores: Stores,
        keys: KeySpace,
        blobs: Blobs,
        config: CollectorConfig,
    ) -> None:
        self._data = data
        self._keys = keys
        self._work = stores.pending_work
        self._uploads = stores.uploads
        self._writes = stores.writes
        self._artifacts = stores.artifacts
        self._blobs = blobs
        self._config = config
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to visit tenants that are due."""
        self._running = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Visit no more. What was begun is ended by whoever comes next."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait((self._running,))

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._config.interval_seconds)
            try:
                await self.visit_all_due()
            except DomainError as error:
                _log.warning("the collector has to wait", extra={"why": error.message})
            except Exception:
                _log.exception("the collector broke off")

    async def visit_all_due(self) -> int:
        """Visit the tenants that are due now; return how many objects were removed."""
        async with self._data.management.connection() as connection:
            active = self._data.directory.active()
            await self._work.note_sweeps(connection, list(active), _SWEEP_SECONDS)
        removed = 0
        while (work := await self._claim()) is not None:
            try:
                removed += await self._visit(work)
            except DomainError as error:
                away = {"tenant_id": work.tenant_id, "why": error.message}
                _log.warning("a tenant could not be visited", extra=away)
                await self._postpone(work, _AWAY_SECONDS)
        return removed

    async def collect(self, tenant_id: str) -> int:
        """Remove expired uploads, and objects whose writers are gone; return how many objects."""
        async with self._data.tenants.connection(tenant_id) as connection:
            await self._uploads.remove_expired(connection)
        removed = 0
        while True:
            taken, gone = await self._collect_some(tenant_id)
            removed += gone
            if taken < _AT_ONCE:
                return removed

    async def sweep(self, tenant_id: str) -> int:
        """Hand objects without any row over to `collect`; return how many."""
        noted = 0
        limit = now() - timedelta(seconds=self._config.grace_seconds)
        async for page in self._blobs.pages(f"{tenant_id}/"):
            old = [blob for blob in page if blob.modify_time < limit]
            paths = [path for blob in old if (path := self._path(tenant_id, blob)) is not None]
            async with self._data.tenants.connection(tenant_id) as connection:
                noted += await self._writes.note_orphans(connection, paths)
        if noted:
            _log.warning("objects without rows", extra={"tenant_id": tenant_id, "count": noted})
        return noted

    async def _claim(self) -> Work | None:
        async with self._data.management.connection() as connection:
            return await self._work.claim(connection)

    async def _postpone(self, work: Work, seconds: float) -> None:
        async with self._data.management.connection() as connection:
            await self._work.postpone(connection, work, seconds)

    async def _visit(self, work: Work) -> int:
        """Do what is due for one tenant, and say when it is due again."""
        if work.tenant_id not in self._data.directory.active():
            await self._postpone(work, _AWAY_SECONDS)
            return 0
        if work.kind == "sweep":
            await self.sweep(work.tenant_id)
            await self._postpone(work, _SWEEP_SECONDS)
            return await self.collect(work.tenant_id)
        removed = await self.collect(work.tenant_id)
        async with self._data.tenants.connection(work.tenant_id) as connection:
            left = await self._writes.any_left(connection)
        async with self._data.management.connection() as connection:
            if left or not await self._work.finish(connection, work):
                await self._work.postpone(connection, work, self._config.grace_seconds)
        return removed

    async def _collect_some(self, tenant_id: str) -> tuple[int, int]:
        """Take some old writes and end them; return how many, and how many objects it removed."""
        writer, started, removed = uuid4(), time.monotonic(), 0
        async with self._data.tenants.connection(tenant_id) as connection:
            taken = await self._writes.take_stale(
                connection, writer, self._config.grace_seconds, _AT_ONCE
            )
            # Only now: a commit before this statement is seen by it, and one after needs our lease.
            committed = await self._artifacts.find_all(connection, tenant_id, taken)
        for path in taken:
            if path not in committed:
                if time.monotonic() - started > _FRESH_SECONDS:
                    raise StoreUnavailable("the object store is too slow to collect in")
                if await self._blobs.delete(self._keys.parse(tenant_id, path).object_name):
                    removed += 1
                    _log.info("an orphan was removed", extra={"tenant_id": tenant_id, "path": path})
        async with self._data.tenants.connection(tenant_id) as connection:
            await self._writes.forget(connection, writer, taken)
        return len(taken), removed

    def _path(self, tenant_id: str, blob: Blob) -> str | None:
        """Return an object's path; None for one that no file of ours can be."""
        try:
            return self._keys.parse(tenant_id, self._keys.path_of(blob.object_name)).path
        except PathInvalid:
            _log.warning("an object has a strange name", extra={"object_name": blob.object_name})
            return None
