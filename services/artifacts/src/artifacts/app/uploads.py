"""Uploads: a file is announced by CreateUpload, then sent by UploadArtifact."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from artifacts.app.committer import StreamedFile
from artifacts.app.write_leases import check_existing, runs_not_held
from artifacts.domain.files import Upload, WriteTarget
from artifacts.domain.writers import check_writer
from artifacts.errors import UploadNotFound
from artifacts.store import artifacts, uploads
from servicekit.call import current_principal
from servicekit.errors import DomainError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from artifacts.app.committer import Committer
    from artifacts.domain.files import Artifact, Draft
    from artifacts.domain.keys import BucketLayout
    from dataplane.pending_work_scheduler import PendingWorkScheduler
    from dataplane.tenants import TenantPools

_DRAIN_BYTES = 8 << 20
_DRAIN_SECONDS = 5.0


class Uploads:
    """Announces files, and commits them when their bytes arrive."""

    def __init__(
        self,
        tenants: TenantPools,
        layout: BucketLayout,
        scheduler: PendingWorkScheduler,
        committer: Committer,
        upload_seconds: float,
    ) -> None:
        self._tenants = tenants
        self._layout = layout
        self._scheduler = scheduler
        self._committer = committer
        self._upload_seconds = upload_seconds

    async def create(self, draft: Draft, digest: str, size_bytes: int) -> Upload | Artifact:
        """Announce a file; return the committed file if it exists already.

        Raises PathReserved, ArtifactConflict, NameInvalid, RunNotFound.
        """
        key = draft.key
        check_writer(key, current_principal().workload)
        await self._scheduler.schedule(key.tenant_id)
        async with self._tenants.connection(key.tenant_id) as connection:
            target = WriteTarget(key, digest)
            around = await artifacts.find_around(connection, self._layout, key.tenant_id, [key])
            not_held = await runs_not_held(connection, [target])
            existing = check_existing(target, around, not_held)
            if isinstance(existing, DomainError):
                raise existing
            return existing or await uploads.upsert(
                connection, self._layout, draft, digest, size_bytes, self._upload_seconds
            )

    async def receive(
        self, tenant_id: str, upload_id: str, chunks: AsyncIterator[bytes]
    ) -> Artifact:
        """Commit an announced file from its bytes; ignore them if it is committed already.

        Raises UploadNotFound, PathReserved, and what Committer.commit_stream raises.
        """
        async with self._tenants.connection(tenant_id) as connection:
            upload = await uploads.find(connection, self._layout, tenant_id, upload_id)
            committed = await artifacts.find_by_upload(
                connection, self._layout, tenant_id, upload_id
            )
        found = committed or upload
        if found is None:
            raise UploadNotFound(upload_id)
        check_writer(found.draft.key, current_principal().workload)
        if isinstance(found, Upload):
            file = StreamedFile(found.draft, found.size_bytes, found.digest, upload_id=upload_id)
            found = await self._committer.commit_stream(tenant_id, file, chunks)
        await _drain(chunks)
        return found


async def _drain(chunks: AsyncIterator[bytes]) -> None:
    """Read the rest of the stream, within limits: a response sent before its end may be lost."""
    left = _DRAIN_BYTES
    try:
        async with asyncio.timeout(_DRAIN_SECONDS):
            async for chunk in chunks:
                left -= len(chunk)
                if left <= 0:
                    return
    except TimeoutError:
        return
