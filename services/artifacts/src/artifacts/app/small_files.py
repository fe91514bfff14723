"""The commit of small files: rows and bytes in one statement, then the PUTs.

1. The store answers, or nothing is committed.
2. One statement commits the files whose paths are free, with their bytes. From then on they are
   durable and can be read, and what the objects at their paths will hold is decided.
3. The bytes are put. The collector puts those whose PUT failed or whose process died.
4. A moment later the bytes leave the database, those of many files at once.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

from artifacts.app.body_verifier import ON_LOOP_BYTES
from artifacts.domain.writers import needs_held_run
from artifacts.errors import RunNotFound, StoreUnavailable
from artifacts.metrics import BYTES_WRITTEN, FILES_COMMITTED, PUTS_POSTPONED
from artifacts.store import bodies, write_leases
from servicekit.batches import Batcher, Limits
from servicekit.call import current_principal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from artifacts.app.stored_bodies import StoredBodies
    from artifacts.domain.buffered_file import BufferedFile
    from artifacts.domain.files import Artifact
    from artifacts.object_store.client import ObjectStore
    from dataplane.pending_work_scheduler import PendingWorkScheduler
    from dataplane.tenants import TenantPools

SMALL_BYTES = ON_LOOP_BYTES
"""Up to this size the bytes of a file go through the database."""

_CONCURRENT_PUTS = 16
_PUT_ATTEMPTS = 2
_FILES_AT_ONCE = 256
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Writer:
    """Whose files one statement may commit together."""

    tenant_id: str
    user_id: str
    only_held: bool


class SmallFiles:
    """Commits small files at paths that are free."""

    def __init__(
        self,
        tenants: TenantPools,
        scheduler: PendingWorkScheduler,
        objects: ObjectStore,
        stored: StoredBodies,
    ) -> None:
        self._tenants = tenants
        self._scheduler = scheduler
        self._objects = objects
        self._stored = stored
        self._puts = asyncio.Semaphore(_CONCURRENT_PUTS)
        self._inserts = Batcher(self._insert, Limits(_FILES_AT_ONCE))

    async def commit(self, tenant_id: str, files: Sequence[BufferedFile]) -> dict[str, Artifact]:
        """Commit files of at most SMALL_BYTES bytes; return those that were committed, by path.

        The others have to be committed by a write lease, or refused. Raises StoreUnavailable, and
        then nothing is committed.
        """
        await self._scheduler.schedule(tenant_id)
        await self._objects.check()
        caller = current_principal()
        by_whom = _Writer(tenant_id, caller.user_id, needs_held_run(caller.workload))
        paths = [file.submission.path for file in files]
        try:
            committed = await self._inserts.submit(by_whom, paths, files, len(files))
        except RunNotFound:
            return {}
        await asyncio.gather(
            *(self._put(tenant_id, file) for file in files if file.submission.path in committed)
        )
        return committed

    async def _insert(
        self, by_whom: _Writer, calls: Sequence[Sequence[BufferedFile]]
    ) -> list[dict[str, Artifact]]:
        """Commit the files of calls that wait at the same time; return those of each call."""
        writer = uuid4()
        async with self._tenants.connection(by_whom.tenant_id) as connection:
            committed, without_file = await bodies.commit(
                connection,
                writer,
                by_whom.user_id,
                [(file.submission, file.body) for files in calls for file in files],
                only_held=by_whom.only_held,
            )
            if without_file:
                await write_leases.delete(connection, writer, without_file)
        FILES_COMMITTED.labels("small").inc(len(committed))
        BYTES_WRITTEN.inc(sum(file.size_bytes for file in committed.values()))
        return [
            {path: committed[path] for file in files if (path := file.submission.path) in committed}
            for files in calls
        ]

    async def _put(self, tenant_id: str, file: BufferedFile) -> None:
        """Put a committed file; leave it to the collector if all attempts fail."""
        path, failure = file.submission.path, ""
        for _ in range(_PUT_ATTEMPTS):
            try:
                async with self._puts:
                    await self._objects.put(file.target.key.object_name, file.body)
            except StoreUnavailable as error:
                failure = error.message
            else:
                self._stored.add(tenant_id, path)
                return
        PUTS_POSTPONED.inc()
        log_postponed(tenant_id, path, failure)


def log_postponed(tenant_id: str, path: str, why: str) -> None:
    """Log that a committed file is still to be put."""
    _log.warning(
        "a committed file is put into the store later",
        extra={
            "event": "object_store.put_postponed",
            "tenant_id": tenant_id,
            "path": path,
            "why": why,
        },
    )
