"""A test at start-up of what the service requires of an object store.

Some stores answer 200 and do something else, so each operation is checked by its effect, on objects
under `_probe/`, which is no tenant's name.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from uuid import uuid4

from artifacts.errors import StoreUnavailable
from artifacts.object_store.client import ObjectDamaged
from servicekit.errors import StartRefused
from servicekit.retries import RetryLog, retry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from artifacts.object_store.client import ObjectStore

_BODY = bytes(range(256)) * 16
_log = logging.getLogger(__name__)


class StoreUnsuitable(StartRefused):
    """The object store lacks an ability that the service requires; the message names it."""


async def wait_for_store(objects: ObjectStore) -> bool:
    """Wait until the store answers, create the bucket, and probe the store.

    Its cost does not depend on what is in the bucket. Returns whether the store ignores case in
    names. Raises StoreUnsuitable.
    """
    log = RetryLog(
        _log,
        "object_store.unavailable",
        "the object store cannot be used yet",
        waits_for=f"S3 at {objects.endpoint}",
    )
    folds_case = await retry(lambda: _prepare(objects), StoreUnavailable, log)
    _log.info(
        "the object store can be used",
        extra={
            "event": "object_store.ready",
            "endpoint": objects.endpoint,
            "folds_case": folds_case,
        },
    )
    return folds_case


async def _prepare(objects: ObjectStore) -> bool:
    await objects.ensure_bucket()
    return await _probe(objects, f"_probe/{uuid4().hex}")


async def _probe(objects: ObjectStore, folder: str) -> bool:
    whole, cut = f"{folder}/whole", f"{folder}/cut"
    try:
        await objects.put(whole, _BODY)
        _require(await _read(objects, whole, 0, len(_BODY)) == _BODY, "return what was put")
        _require(await _read(objects, whole, 100, 1000) == _BODY[100:1100], "return a range")
        await _put_half(objects, cut)
        _require(await objects.find(cut) is None, "hide an object whose PUT was cut off")
        await _put_half(objects, whole)
        _require(
            await _read(objects, whole, 0, len(_BODY)) == _BODY,
            "keep an object when the PUT that would replace it is cut off",
        )
        await objects.delete(f"{whole}/inside")
        _require(
            await _read(objects, whole, 0, len(_BODY)) == _BODY,
            "keep an object when one is deleted that would lie inside it",
        )
        listed = [found.object_name async for page in objects.pages(f"{folder}/") for found in page]
        _require(listed == [whole], "list the objects of a folder")
        folds_case = await objects.find(f"{folder}/WHOLE") is not None
    finally:
        await objects.delete(whole)
        await objects.delete(cut)
    _require(await objects.find(whole) is None, "delete an object")
    return folds_case


async def _read(objects: ObjectStore, object_name: str, offset: int, length: int) -> bytes:
    try:
        pieces = [piece async for piece in objects.read(object_name, len(_BODY), offset, length)]
    except ObjectDamaged:
        return b""
    return b"".join(pieces)


async def _put_half(objects: ObjectStore, object_name: str) -> None:
    """Begin a PUT and break it off in the middle."""

    async def half() -> AsyncIterator[bytes]:
        yield bytes(len(_BODY) // 2)
        raise _BrokenOffError

    try:
        await objects.put_pieces(object_name, len(_BODY), half())
    except _BrokenOffError:
        return


class _BrokenOffError(Exception):
    pass


def _require(able: bool, ability: str) -> None:  # noqa: FBT001 - the sentence's subject
    if not able:
        raise StoreUnsuitable(f"the object store does not {ability}; use another one")
