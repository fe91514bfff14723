"""The collector does what processes left undone.

It puts small files into the store that are committed and were not put, and removes what nobody
finished: expired uploads, and objects without a file's row. Every object has a row in `artifacts`
or in `artifact_writes`. The collector takes over expired write leases, checks whether their files
were committed, and only then deletes the objects. Once a day a sweep of each tenant inserts expired
leases for objects that have neither row.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

from artifacts.app.small_files import log_postponed
from artifacts.errors import PathInvalid, StoreUnavailable
from artifacts.metrics import ORPHANS
from artifacts.store import artifacts, bodies, uploads, write_leases
from dataplane.pending_work import PendingWorkTable
from dataplane.pending_work_poller import PendingWorkPoller
from servicekit.times import now

if TYPE_CHECKING:
    from artifacts.config import CollectorConfig
    from artifacts.domain.keys import BucketLayout
    from artifacts.object_store.client import ObjectStore, StoredObject
    from dataplane.tenants import DataPlane

COLLECTION = "collect"
SWEEP = "sweep"
_SWEEP_SECONDS = 24 * 3600.0
_REWRITE_SECONDS = 60.0
_LONGEST_CALL_SECONDS = 600.0
_CLAIM_SECONDS = 600.0
_RETRY_SECONDS = 3600.0
# While no process ran, the sweeps of all tenants may have become due. For some time after its start
# a process reschedules them, so that a start never lists the whole bucket.
START_SECONDS = 300.0
_SPREAD_SECONDS = 3600.0
_LEASES_AT_ONCE = 16
_BODIES_AT_ONCE = 16
_BODY_SECONDS = 60.0
"""When a small file that was committed and not put is put by the collector."""
_LEASE_SECONDS = 5.0  # plus finding and deleting an object: below the 30 s of a takeover
_log = logging.getLogger(__name__)


def pending_work_table(kind: str, grace_seconds: float) -> PendingWorkTable:
    """Describe the rows of `artifacts_pending_work` of one kind, COLLECTION or SWEEP."""
    return PendingWorkTable(
        name="artifacts_pending_work",
        kind=kind,
        delay_seconds=min(grace_seconds, _BODY_SECONDS),
        rewrite_seconds=_REWRITE_SECONDS,
        settle_seconds=_REWRITE_SECONDS + _LONGEST_CALL_SECONDS,
        idle_seconds=_SWEEP_SECONDS,
    )


class Collector:
    """Visits the tenants that are due; any number of processes may run one."""

    def __init__(
        self, data: DataPlane, layout: BucketLayout, objects: ObjectStore, config: CollectorConfig
    ) -> None:
        self._data = data
        self._layout = layout
        self._objects = objects
        self._grace_seconds = config.grace_seconds
        self._sweeps_from = time.monotonic() + START_SECONDS
        handlers = {COLLECTION: self._collect_due, SWEEP: self._sweep_due}
        self._pollers = [
            PendingWorkPoller(
                pending_work_table(kind, config.grace_seconds),
                data,
                handle,
                interval_seconds=config.interval_seconds,
                at_once=1,
                lease_seconds=_CLAIM_SECONDS,
                retry_seconds=_RETRY_SECONDS,
                poll_all_after_outage=kind == COLLECTION,  # a sweep lists all objects
            )
            for kind, handle in handlers.items()
        ]

    def start(self) -> None:
        """Begin to visit tenants that are due."""
        for poller in self._pollers:
            poller.start()

    async def stop(self) -> None:
        """Cancel the current visits; another process repeats them after ten minutes."""
        await asyncio.gather(*(poller.stop() for poller in self._pollers))

    async def poll(self) -> None:
        """Visit one tenant of each kind that is due now."""
        await asyncio.gather(*(poller.poll() for poller in self._pollers))

    async def store_left_bodies(self, tenant_id: str) -> bool:
        """Put small files that were committed and not put; return whether none is left."""
        left = True
        while left:
            async with self._data.tenants.connection(tenant_id) as connection:
                left = await bodies.find_old(connection, _BODY_SECONDS / 2, _BODIES_AT_ONCE)
            for path, body in left.items():
                try:
                    await self._objects.put(self._layout.parse(tenant_id, path).object_name, body)
                except StoreUnavailable as error:
                    log_postponed(tenant_id, path, error.message)
                    return False
            if left:
                async with self._data.tenants.connection(tenant_id) as connection:
                    await bodies.delete(connection, list(left))
        return True

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
        limit = now() - timedelta(seconds=self._grace_seconds)
        async for page in self._objects.pages(f"{tenant_id}/"):
            old = [found for found in page if found.modify_time < limit]
            paths = [path for found in old if (path := self._path(tenant_id, found)) is not None]
            async with self._data.tenants.connection(tenant_id) as connection:
                orphans += await write_leases.insert_orphans(connection, paths)
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

    async def _collect_due(self, tenant_id: str) -> float | None:
        if not await self.store_left_bodies(tenant_id):
            return _BODY_SECONDS
        await self.collect(tenant_id)
        async with self._data.tenants.connection(tenant_id) as connection:
            return self._grace_seconds if await write_leases.any_unfinished(connection) else None

    async def _sweep_due(self, tenant_id: str) -> float | None:
        if time.monotonic() < self._sweeps_from:
            return random.uniform(0.0, _SPREAD_SECONDS)  # noqa: S311 - a jitter
        await self.sweep(tenant_id)
        await self.collect(tenant_id)
        return None

    async def _collect_some(self, tenant_id: str) -> tuple[int, int]:
        """Take over and delete some expired leases; return how many, and how many objects."""
        writer, started, removed = uuid4(), time.monotonic(), 0
        async with self._data.tenants.connection(tenant_id) as connection:
            taken = await write_leases.take_expired(
                connection, writer, self._grace_seconds, _LEASES_AT_ONCE
            )
            # Only now: this query sees earlier commits, and later ones need our leases.
            committed = await artifacts.find_all(connection, self._layout, tenant_id, taken)
        for path in taken:
            if path not in committed:
                if time.monotonic() - started > _LEASE_SECONDS:
                    raise StoreUnavailable("the object store is too slow to collect in")
                if await self._objects.delete(self._layout.parse(tenant_id, path).object_name):
                    removed += 1
                    ORPHANS.inc()
                    _log.info(
                        "an orphan was removed",
                        extra={
                            "event": "collector.orphan_removed",
                            "tenant_id": tenant_id,
                            "path": path,
                        },
                    )
        async with self._data.tenants.connection(tenant_id) as connection:
            await write_leases.delete(connection, writer, taken)
        return len(taken), removed

    def _path(self, tenant_id: str, found: StoredObject) -> str | None:
        """Return the path of an object; None if its name cannot be that of a file."""
        try:
            return self._layout.parse_object(tenant_id, found.object_name).path
        except PathInvalid:
            _log.warning(
                "an object's name is not that of a file",
                extra={"event": "collector.foreign_object", "object_name": found.object_name},
            )
            return None
