"""Backups in a bucket of an S3 store."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

import minio
import urllib3
from minio.deleteobjects import DeleteObject
from minio.error import S3Error

from tenant.backup_storage import staging
from tenant.backup_storage.storage import PIECE_BYTES
from tenant.errors.backups import BackupDamaged, BackupStorageUnavailable
from tenant.threads import completed, opened

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection, Generator
    from pathlib import Path

    from tenant.backup_config import BackupBucket

T = TypeVar("T")

_PAGE = 1000
_CONNECT_SECONDS = 3.0
_READ_SECONDS = 60.0
_MISSING = ("NoSuchKey", "NoSuchObject")


class BucketStorage:
    """A BackupStorage over the objects of a bucket, below a prefix."""

    staging_unproven = (
        "Where a process was killed in the middle of a backup, the temporary folder of its machine "
        "may hold files of it, until that folder is cleared or another process there removes them.",
    )

    def __init__(self, bucket: BackupBucket) -> None:
        self._bucket = bucket.name
        self._prefix = f"{bucket.prefix}/" if bucket.prefix else ""
        address = urlsplit(bucket.endpoint)
        self._client = minio.Minio(
            address.netloc,
            access_key=bucket.access_key,
            secret_key=bucket.secret_key,
            secure=address.scheme == "https",
            region=bucket.region,
            http_client=urllib3.PoolManager(
                timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS),
                retries=urllib3.Retry(total=2, backoff_factor=0.2),
            ),
        )

    @contextmanager
    def staging(self, name: str) -> Generator[Path]:
        """Lend a temporary folder of this machine."""
        with staging.lent_on_machine(name) as folder:
            yield folder

    async def remove_staged(self, prefix: str) -> tuple[int, int]:
        """Remove what killed processes have staged on this machine."""
        return await asyncio.to_thread(staging.remove_on_machine, prefix)

    async def put(self, source: Path, name: str) -> None:
        """Upload a file; it becomes visible whole.

        Cancelled it still waits for that: nothing may come to be there later.
        """

        def upload() -> None:
            self._client.fput_object(self._bucket, self._prefix + name, str(source))

        with _translated():
            await completed(upload)
        await asyncio.to_thread(source.unlink)

    async def read(self, name: str) -> AsyncGenerator[bytes]:
        """Yield an object's bytes. Raises BackupDamaged when it is missing."""
        try:
            answer = await opened(lambda: self._get(name), _release)
        except _ObjectMissing:
            raise BackupDamaged(f"the file {name} is missing") from None
        try:
            while piece := await _in_thread(lambda: answer.read(PIECE_BYTES)):
                yield piece
        finally:
            _release(answer)

    async def names(self, prefix: str) -> AsyncGenerator[str]:
        """Yield the names below a prefix."""
        listed = self._client.list_objects(self._bucket, self._prefix + prefix, recursive=True)
        while page := await _in_thread(lambda: list(islice(listed, _PAGE))):
            for found in page:
                yield str(found.object_name).removeprefix(self._prefix)

    async def delete(self, names: Collection[str]) -> None:
        """Delete objects, 1,000 with a request."""
        objects = [DeleteObject(self._prefix + name) for name in names]
        errors = await _in_thread(lambda: list(self._client.remove_objects(self._bucket, objects)))
        for error in errors:
            if error.code not in _MISSING:
                raise BackupStorageUnavailable(f"the store refused ({error.code})")

    def _get(self, name: str) -> urllib3.BaseHTTPResponse:
        with _translated():
            return self._client.get_object(self._bucket, self._prefix + name)


class _ObjectMissing(Exception):
    pass


def _release(answer: urllib3.BaseHTTPResponse) -> None:
    answer.close()
    answer.release_conn()


async def _in_thread(call: Callable[[], T]) -> T:
    with _translated():
        return await asyncio.to_thread(call)


@contextmanager
def _translated() -> Generator[None]:
    try:
        yield
    except S3Error as error:
        if error.code in _MISSING:
            raise _ObjectMissing from error
        raise BackupStorageUnavailable(f"the store refused ({error.code})") from error
    except (urllib3.exceptions.HTTPError, minio.error.MinioException, OSError) as error:
        raise BackupStorageUnavailable(type(error).__name__) from error
