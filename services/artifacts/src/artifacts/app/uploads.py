"""Uploads: a file is announced, then it comes in a stream."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from artifacts.app.commits import LargeFile
from artifacts.app.leases import closed_runs, judge
from artifacts.domain.files import Upload
from artifacts.domain.writers import check_writer
from artifacts.errors import UploadNotFound
from artifacts.store.writes import Wish
from servicekit.call import current_principal
from servicekit.errors import DomainError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from artifacts.app.commits import Commits
    from artifacts.app.pending_work import PendingWork
    from artifacts.domain.files import Artifact, Draft
    from artifacts.store.stores import Stores
    from dataplane.tenants import TenantPools

_DRAIN_BYTES = 8 << 20
_DRAIN_SECONDS = 5.0


class Uploads:
    def __init__(
        self,
        tenants: TenantPools,
        stores: Stores,
        pending: PendingWork,
        commits: Commits,
        upload_seconds: float,
    ) -> None:
        self._tenants = tenants
        self._pending = pending
        self._artifacts = stores.artifacts
        self._uploads = stores.uploads
        self._runs = stores.runs
        self._commits = commits
        self._upload_seconds = upload_seconds

    async def create(self, draft: Draft, digest: str, size_bytes: int) -> Upload | Artifact:
        """Announce a file; return it when it is committed already.

        Raises PathReserved, ArtifactConflict, NameInvalid, RunNotFound.
        """
        key = draft.key
        check_writer(key, current_principal().workload)
        await self._pending.note(key.tenant_id)
        async with self._tenants.connection(key.tenant_id) as connection:
            wish = Wish(key, digest)
            around = await self._artifacts.find_around(connection, key.tenant_id, [key])
            closed = await closed_runs(self._runs, connection, [wish])
            there = judge(wish, around, closed)
            if isinstance(there, DomainError):
                raise there
            return there or await self._uploads.announce(
                connection, draft, digest, size_bytes, self._upload_seconds
            )

    async def receive(
        self, tenant_id: str, upload_id: str, chunks: AsyncIterator[bytes]
    ) -> Artifact:
        """Commit an announced file from its bytes; what is committed already needs none.

        Raises UploadNotFound, PathReserved, and what Commits.put_stream raises.
        """
        async with self._tenants.connection(tenant_id) as connection:
            upload = await self._uploads.find(connection, tenant_id, upload_id)
            committed = await self._artifacts.find_by_upload(connection, tenant_id, upload_id)
        found = committed or upload
        if found is None:
            raise UploadNotFound(upload_id)
        check_writer(found.draft.key, current_principal().workload)
        if isinstance(found, Upload):
            file = LargeFile(found.draft, found.size_bytes, found.digest, upload_id=upload_id)
            found = await self._commits.put_stream(tenant_id, file, chunks)
        await _drain(chunks)
        return found


async def _drain(chunks: AsyncIterator[bytes]) -> None:
    """Read what the sender still has, within bounds: an answer sent meanwhile may be lost."""
    left = _DRAIN_BYTES
    try:
        async with asyncio.timeout(_DRAIN_SECONDS):
            async for chunk in chunks:
                left -= len(chunk)
                if left <= 0:
                    return
    except TimeoutError:
        return
