"""Turning whatever a handler raises into the error that its caller is sent."""

from __future__ import annotations

import asyncio
import logging
import uuid
from typing import TYPE_CHECKING, Any, cast

import grpc

from interceptor.fields import find_unstorable
from servicekit.errors import (
    DeadlineExceeded,
    DomainError,
    Forbidden,
    Internal,
    PeerUnavailable,
    RequestInvalid,
    Unauthenticated,
    ValueUnstorable,
)
from servicekit.status import RemoteError

if TYPE_CHECKING:
    from interceptor.server_call import ServerCall

_log = logging.getLogger(__name__)


def error_for_caller(error: BaseException, call: ServerCall, request: object) -> DomainError | None:
    """Return the error to send to the caller; None when no caller hears it any more.

    A DomainError is sent as it is. Anything else is a defect: it is logged under an id, and the
    caller is sent `internal error <id>`.
    """
    if isinstance(error, asyncio.CancelledError):
        return _error_of_cancellation(call)
    if _is_connection_gone(error):
        return None
    if isinstance(error, ValueUnstorable) and (found := tuple(find_unstorable(request))):
        return RequestInvalid(f"{found[0].field}: {found[0].description}", violations=found)
    if isinstance(error, DomainError) and not _is_defect(error):
        return error
    error_id = uuid.uuid4().hex[:12]
    _log.error(
        "a defect", exc_info=error, extra={"event": "call.defect_found", "error_id": error_id}
    )
    return Internal(f"internal error {error_id}", error_id=error_id)


def _error_of_cancellation(call: ServerCall) -> DomainError | None:
    task = asyncio.current_task()
    if call.end_reason and task is not None and task.uncancel() == 0:
        return DeadlineExceeded(f"the call was ended: {call.end_reason}")
    if task is not None and task.cancelling():
        return None
    # Something that the handler awaited was cancelled, not the call. gRPC would send no answer, and
    # the caller would wait until its deadline, or for ever.
    return PeerUnavailable("something that this call waited for was cancelled", peer="")


def _is_connection_gone(error: BaseException) -> bool:
    """Return whether gRPC says that its server has stopped under a call: nobody hears an answer."""
    return isinstance(error, grpc.aio.BaseError) and not isinstance(
        error, (grpc.aio.UsageError, grpc.aio.InternalError)
    )


def _is_defect(error: DomainError) -> bool:
    """Return whether a peer refused this service rather than the caller: its token, its rights."""
    return isinstance(error, RemoteError) and isinstance(
        error, (Unauthenticated, Forbidden, Internal)
    )


def code_name(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """Return the code with which a handler has aborted its call by itself."""
    number = cast("int", context.code())  # as it is, whatever the stub says
    return next((code.name for code in grpc.StatusCode if code.value[0] == number), "UNKNOWN")
