"""What callers are told when a call fails."""

from __future__ import annotations

import asyncio
import logging
import uuid
from typing import TYPE_CHECKING, Any, cast

import grpc

from interceptor.fields import unstorable
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
    from servicekit.guard.passage import Passage

_log = logging.getLogger(__name__)


def told(error: BaseException, passage: Passage, request: object) -> DomainError | None:
    """Return what the caller is told of an error; None when the caller has gone."""
    if isinstance(error, asyncio.CancelledError):
        return _told_of_cancellation(passage)
    if isinstance(error, ValueUnstorable) and (found := tuple(unstorable(request))):
        violations = tuple(Violation(*fault) for fault in found)
        return RequestInvalid(f"{found[0].field}: {found[0].description}", violations=violations)
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


def code_name(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """Return the code that a handler has ended its call with by itself."""
    number = cast("int", context.code())  # as it is, whatever the stub says
    return next((code.name for code in grpc.StatusCode if code.value[0] == number), "UNKNOWN")
