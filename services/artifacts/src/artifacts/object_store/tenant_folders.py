"""All that a bucket holds below the folders of tenants: objects in every version, and uploads.

The service itself deletes no version and begins no multipart upload; others may have, with the same
bucket.
"""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import TYPE_CHECKING
from uuid import uuid4

from artifacts.object_store.bucket import ObjectMissing, Unsupported

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from minio.datatypes import Object, Upload

    from artifacts.object_store.bucket import Bucket

_PAGE = 1000
_AT_ONCE = 8


class TenantObjects:
    """The objects in the folders of tenants, with the versions that were replaced or deleted."""

    method = "DELETE of every version below the tenant's folder"

    def __init__(self, bucket: Bucket) -> None:
        self.name = f"objects of the bucket {bucket.name}"
        self._bucket = bucket

    async def count(self, tenant_id: str) -> int:
        """Return how many objects there are; each version and delete marker counts."""
        found = 0
        async for page in self._pages(tenant_id):
            found += len(page)
        return found

    async def remove(self, tenant_id: str) -> AsyncIterator[int]:
        """Delete them; yield how many are deleted."""
        removed = 0
        async for page in self._pages(tenant_id):
            for start in range(0, len(page), _AT_ONCE):
                part = page[start : start + _AT_ONCE]
                await asyncio.gather(*map(self._remove, part))
                removed += len(part)
                yield removed

    async def tenant_ids(self) -> AsyncIterator[str]:
        """Yield the names of the folders; the service's own begin with `_`."""
        listed = self._bucket.client.list_objects(self._bucket.name)
        while page := await self._bucket.call(lambda: list(islice(listed, _PAGE))):
            for found in page:
                name = (found.object_name or "").rstrip("/")
                if found.is_dir and not name.startswith("_"):
                    yield name

    async def unproven(self, tenant_id: str) -> Sequence[str]:
        """Return what an empty listing does not prove."""
        del tenant_id
        sentences = [
            "What the object store keeps of deleted objects on its disks, in replicas and in "
            "backups of its own, is not seen by its API."
        ]
        if not await self._lists_versions():
            sentences.append(
                "The object store does not list versions: it keeps none, or hides them."
            )
        return sentences

    async def _pages(self, tenant_id: str) -> AsyncIterator[list[Object]]:
        versions = await self._lists_versions()
        listed = self._bucket.client.list_objects(
            self._bucket.name, prefix=f"{tenant_id}/", recursive=True, include_version=versions
        )
        while page := await self._bucket.call(lambda: list(islice(listed, _PAGE))):
            yield page

    async def _lists_versions(self) -> bool:
        """Return whether the store has versions at all; one without them refuses to list them."""
        client, name = self._bucket.client, self._bucket.name
        try:
            found = client.list_objects(name, prefix="_none/", recursive=True, include_version=True)
            await self._bucket.call(lambda: list(islice(found, 1)))
        except Unsupported:
            return False
        return True

    async def _remove(self, found: Object) -> None:
        client = self._bucket.client
        try:
            await self._bucket.call(
                client.remove_object, self._bucket.name, found.object_name, found.version_id
            )
        except ObjectMissing:
            return


class TenantUploads:
    """Multipart uploads into the folders of tenants that were never completed."""

    method = "AbortMultipartUpload of each"

    def __init__(self, bucket: Bucket) -> None:
        self.name = f"multipart uploads of the bucket {bucket.name}"
        self._bucket = bucket

    async def count(self, tenant_id: str) -> int:
        """Return how many there are, 1,000 at most."""
        return len(await self._uploads(f"{tenant_id}/") or ())

    async def remove(self, tenant_id: str) -> AsyncIterator[int]:
        """Abort them; yield how many are aborted."""
        removed = 0
        while uploads := await self._uploads(f"{tenant_id}/"):
            for upload in uploads:
                await self._abort(upload.object_name, upload.upload_id)
            removed += len(uploads)
            yield removed

    async def tenant_ids(self) -> AsyncIterator[str]:
        """Yield whose uploads there are, of the first 1,000."""
        names = {upload.object_name.partition("/")[0] for upload in await self._uploads("") or ()}
        for name in sorted(names):
            if not name.startswith("_"):
                yield name

    async def unproven(self, tenant_id: str) -> Sequence[str]:
        """Return what an empty listing does not prove.

        Whether the store lists uploads by folder is tried: rclone lists those of a whole name only.
        """
        del tenant_id
        folder = f"_probe/{uuid4().hex}/"
        client, name = self._bucket.client, self._bucket.name
        begin = client._create_multipart_upload  # pyright: ignore[reportPrivateUsage]
        try:
            upload_id = await self._bucket.call(begin, name, f"{folder}upload", {})
        except Unsupported:
            return ()
        listed = await self._uploads(folder)
        await self._abort(f"{folder}upload", upload_id)
        if not listed:
            return ("The object store does not list multipart uploads by folder.",)
        return ()

    async def _uploads(self, prefix: str) -> list[Upload] | None:
        """Return up to 1,000 uploads; None where the store does not list them."""
        # Its `next_upload_id_marker` is always None (minio 7.2.20), so there are no further pages.
        listing = self._bucket.client._list_multipart_uploads  # pyright: ignore[reportPrivateUsage]
        name = self._bucket.name
        try:
            found = await self._bucket.call(lambda: listing(name, prefix=prefix, max_uploads=_PAGE))
        except Unsupported:
            return None
        except ObjectMissing:  # rclone's answer where there has never been an upload
            return []
        # A store may ignore the prefix.
        return [upload for upload in found.uploads if upload.object_name.startswith(prefix)]

    async def _abort(self, object_name: str, upload_id: str | None) -> None:
        abort = self._bucket.client._abort_multipart_upload  # pyright: ignore[reportPrivateUsage]
        try:
            await self._bucket.call(abort, self._bucket.name, object_name, upload_id)
        except ObjectMissing:
            return
