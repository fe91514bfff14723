"""What callers are told when a call fails."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import uuid
from typing import TYPE_CHECKING, Any, cast

import grpc
from google.protobuf.message import Message

from servicekit.errors import (
    DeadlineExceeded,
    DomainError,
    Forbidden,
    Internal,
    PeerUnavailable,
    RequestInvalid,
    Unauthenticated,
    ValueUnstorable,
    Violation,
)
from servicekit.status import RemoteError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from servicekit.guard.passage import Passage

_DRAIN_BYTES = 64 << 20
_DRAIN_SECONDS = 10.0
_log = logging.getLogger(__name__)


def told(error: BaseException, passage: Passage, request: object) -> DomainError | None:
    """Return what the caller is told of an error; None when the caller has gone."""
    if isinstance(error, asyncio.CancelledError):
        return _told_of_cancellation(passage)
    if isinstance(error, ValueUnstorable) and (found := tuple(_unstorable(request))):
        return RequestInvalid(f"{found[0].field}: {found[0].description}", violations=found)
    if isinstance(error, DomainError) and not _is_defect(error):
        return error
    error_id = uuid.uuid4().hex[:12]
    _log.error("a defect", exc_info=error, extra={"error_id": error_id})
    return Internal(f"internal error {error_id}", error_id=error_id)


def _told_of_cancellation(passage: Passage) -> DomainError | None:
    task = asyncio.current_task()
    if passage.ended_by and task is not None and task.uncancel() == 0:
        return DeadlineExceeded(f"the call was ended: {passage.ended_by}")
    if task is not None and task.cancelling():
        return None
    # A call of this call's own was cancelled. gRPC would answer nothing, and the caller would wait
    # until its deadline, or for ever.
    return PeerUnavailable("something that this call waited for was cancelled", peer="")


def _is_defect(error: DomainError) -> bool:
    """Tell whether a peer's refusal concerns us and not our caller: our token, our rights."""
    return isinstance(error, RemoteError) and isinstance(
        error, (Unauthenticated, Forbidden, Internal)
    )


def _unstorable(value: Any, path: str = "") -> Iterator[Violation]:
    """Find texts of a request that hold U+0000, keys of maps among them, and infinite numbers."""
    parts: list[tuple[str, Any]] = []
    if isinstance(value, Message):
        named = value.DESCRIPTOR.file.package != "google.protobuf"  # a Struct is told as JSON
        parts = [(f".{field.name}" if named else "", part) for field, part in value.ListFields()]
    elif hasattr(value, "items"):
        parts = [(f"[{json.dumps(key)}]", part) for key in value for part in (key, value[key])]
    elif not isinstance(value, str | bytes) and hasattr(value, "__len__"):
        parts = [(f"[{index}]", part) for index, part in enumerate(value)]
    elif isinstance(value, str) and "\0" in value:
        yield Violation(path.lstrip("."), "holds U+0000, which cannot be stored")
    elif isinstance(value, float) and not math.isfinite(value):
        yield Violation(path.lstrip("."), "is no number that JSON has")
    for name, part in parts:
        yield from _unstorable(part, path + name)


def code_name(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """Return the code that a handler has ended its call with by itself."""
    number = cast("int", context.code())  # as it is, whatever the stub says
    return next((code.name for code in grpc.StatusCode if code.value[0] == number), "UNKNOWN")


async def drain(context: grpc.aio.ServicerContext[Any, Any]) -> None:
    """Read what the caller still sends, within bounds.

    A status sent meanwhile is lost half of the time, because the stream is reset behind it.
    """
    left = _DRAIN_BYTES
    try:
        async with asyncio.timeout(_DRAIN_SECONDS):
            while left > 0 and (raw := await context.read()) is not grpc.aio.EOF:
                left -= len(raw)
    except TimeoutError:
        return
