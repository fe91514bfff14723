"""What the service needs of an object store, tried and not assumed.

Stores are known to answer 200 and do something else, so each ability is judged by its effect, on
scratch objects under `_probe/`, which no tenant can be called.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from uuid import uuid4

from artifacts.blobs.store import BlobDamaged
from artifacts.errors import StoreUnavailable
from servicekit.errors import StartRefused
from servicekit.retries import RetryLog, retry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from artifacts.blobs.store import Blobs

_BODY = bytes(range(256)) * 16
_log = logging.getLogger(__name__)


class StoreUnsuitable(StartRefused):
    """The object store cannot do what the service relies on; the message says what."""


async def wait_for_store(blobs: Blobs) -> bool:
    """Wait until the store answers, make the bucket, and try the store.

    Returns whether it takes upper and lower case for one. Raises StoreUnsuitable.
    """
    log = RetryLog(
        _log,
        "object_store.unavailable",
        "the object store cannot be used yet",
        waits_for=f"S3 at {blobs.endpoint}",
    )
    folds_case = await retry(lambda: _make_and_try(blobs), StoreUnavailable, log)
    _log.info(
        "the object store can be used",
        extra={
            "event": "object_store.ready",
            "endpoint": blobs.endpoint,
            "folds_case": folds_case,
        },
    )
    return folds_case


async def _make_and_try(blobs: Blobs) -> bool:
    await blobs.make_bucket()
    return await _try(blobs, f"_probe/{uuid4().hex}")


async def _try(blobs: Blobs, folder: str) -> bool:
    whole, cut = f"{folder}/whole", f"{folder}/cut"
    try:
        await blobs.put(whole, _BODY)
        _demand(await _read(blobs, whole, 0, len(_BODY)) == _BODY, "return what was put")
        _demand(await _read(blobs, whole, 100, 1000) == _BODY[100:1100], "return a range")
        await _put_half(blobs, cut)
        _demand(await blobs.find(cut) is None, "hide an object whose PUT was cut off")
        await _put_half(blobs, whole)
        _demand(
            await _read(blobs, whole, 0, len(_BODY)) == _BODY,
            "keep an object when the PUT that would replace it is cut off",
        )
        await blobs.delete(f"{whole}/inside")
        _demand(
            await _read(blobs, whole, 0, len(_BODY)) == _BODY,
            "keep an object when one is deleted that would lie inside it",
        )
        listed = [blob.object_name async for page in blobs.pages(f"{folder}/") for blob in page]
        _demand(listed == [whole], "list the objects of a folder")
        folds_case = await blobs.find(f"{folder}/WHOLE") is not None
    finally:
        await blobs.delete(whole)
        await blobs.delete(cut)
    _demand(await blobs.find(whole) is None, "delete an object")
    return folds_case


async def _read(blobs: Blobs, object_name: str, offset: int, length: int) -> bytes:
    try:
        pieces = [piece async for piece in blobs.read(object_name, len(_BODY), offset, length)]
    except BlobDamaged:
        return b""
    return b"".join(pieces)


async def _put_half(blobs: Blobs, object_name: str) -> None:
    """Begin to put an object and break off in the middle."""

    async def half() -> AsyncIterator[bytes]:
        yield bytes(len(_BODY) // 2)
        raise _BrokenOffError

    try:
        await blobs.put_pieces(object_name, len(_BODY), half())
    except _BrokenOffError:
        return


class _BrokenOffError(Exception):
    pass


def _demand(able: bool, ability: str) -> None:  # noqa: FBT001 - the sentence's subject
    if not able:
        raise StoreUnsuitable(f"the object store does not {ability}; use another one")
