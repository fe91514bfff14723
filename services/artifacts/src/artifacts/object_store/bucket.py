"""One bucket of an S3 store, by the `minio` client: stats, lists and deletes, in threads."""

from __future__ import annotations

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

import minio
import urllib3
from minio.error import InvalidResponseError, S3Error

from artifacts.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from artifacts.config import StoreConfig

T = TypeVar("T")

PUT_SECONDS = 8.0
"""The time limit for the store to begin with the PUT of a small object, and again to end it."""

_THREADS = 8
_CONNECT_SECONDS = 3.0
_MISSING = ("NoSuchKey", "NoSuchObject", "NoSuchUpload", "NoSuchVersion")
_UNSUPPORTED = ("NotImplemented", "MethodNotAllowed", "XNotImplemented")
_CODE = re.compile(r"<Code>(\w+)</Code>")


class ObjectMissing(Exception):
    """There is no such object."""


class Unsupported(Exception):
    """The store does not have a call of S3's."""


class Bucket:
    """The client of a bucket, and the threads in which its calls block."""

    def __init__(self, config: StoreConfig) -> None:
        self.name = config.bucket
        self.region = config.region
        address = urlsplit(config.endpoint)
        self._pool = urllib3.PoolManager(
            maxsize=_THREADS,
            retries=False,
            timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=PUT_SECONDS),
        )
        self.client = minio.Minio(
            address.netloc,
            access_key=config.access_key,
            secret_key=config.secret_key,
            secure=address.scheme == "https",
            region=config.region,
            http_client=self._pool,
        )
        self._threads = ThreadPoolExecutor(_THREADS, "s3")

    def close(self) -> None:
        """Wait for no thread, and close the connections."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._pool.clear()

    async def call(self, call: Callable[..., T], *arguments: object) -> T:
        """Make a call of the client in a thread.

        Raises ObjectMissing, Unsupported, and StoreUnavailable for whatever else goes wrong.
        """
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, call, *arguments)
        except S3Error as error:
            raise _refusal(error.code or "without a code") from error
        except InvalidResponseError as error:
            # minio reads no refusal whose type is `text/xml; charset=utf-8`.
            code = _CODE.search(str(error))
            raise _refusal(code[1] if code else "with what is no S3") from error
        except (urllib3.exceptions.HTTPError, minio.error.MinioException, OSError) as error:
            why = type(error).__name__
            raise StoreUnavailable(f"the object store cannot be reached ({why})") from error


def _refusal(code: str) -> Exception:
    if code in _MISSING:
        return ObjectMissing(code)
    if code in _UNSUPPORTED:
        return Unsupported(code)
    return StoreUnavailable(f"the object store refused ({code})")
