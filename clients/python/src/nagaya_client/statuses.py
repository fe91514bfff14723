"""ApiError from gRPC statuses."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import grpc
from google.rpc import error_details_pb2, status_pb2

from nagaya_client.errors import ApiError, Violation
from tls.failures import explain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tls.address import ServerAddress

_DETAILS_KEY = "grpc-status-details-bin"
_REQUEST_ID_KEY = "x-request-id"
_STRANGE = re.compile(r"Received http2 header with status: (\d+)")
_HINTS = {
    grpc.StatusCode.UNAVAILABLE: "Is it running? `nagaya dev status` tells of a local stack, "
    "`nagaya dev up` starts it.",
    grpc.StatusCode.DEADLINE_EXCEEDED: "Allow it more time with --timeout, or leave that out.",
    grpc.StatusCode.UNIMPLEMENTED: "The server is older than this client, or is another one.",
}
_CODES: Mapping[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


def decode(error: grpc.aio.AioRpcError, address: ServerAddress, request_id: str) -> ApiError:
    """Return what a failed call tells; `request_id` is what it was sent with."""
    trailers = {key: value for key, value in error.trailing_metadata() or ()}
    raw = trailers.get(_DETAILS_KEY)
    status = status_pb2.Status.FromString(raw) if isinstance(raw, bytes) else status_pb2.Status()
    answered = trailers.get(_REQUEST_ID_KEY)
    code, message = error.code(), error.details() or "the server gave no message"
    if not status.details and (strange := _STRANGE.search(message)):
        code = grpc.StatusCode.UNAVAILABLE  # what gRPC makes of an HTTP status says less
        message = f"{address} is no Nagaya: it answers with HTTP status {strange[1]}"
    elif not status.details and code is grpc.StatusCode.UNAVAILABLE:
        why = explain(message, address) or message.rpartition(": ")[2]
        message = f"{address} cannot be reached: {why}"
    return _api_error(code, message, status, answered if isinstance(answered, str) else request_id)


def cut_off(address: ServerAddress, request_id: str) -> ApiError:
    """Return what a call tells that was cut off on this side, such as by a new certificate."""
    message = f"a call to {address} was cut off on this side"
    return ApiError(grpc.StatusCode.CANCELLED, message, request_id=request_id)


def of_item(status: status_pb2.Status, request_id: str = "") -> ApiError:
    """Return what the status of one item of a batch tells."""
    code = _CODES.get(status.code, grpc.StatusCode.UNKNOWN)
    return _api_error(code, status.message, status, request_id)


def _api_error(
    code: grpc.StatusCode, message: str, status: status_pb2.Status, request_id: str
) -> ApiError:
    info = error_details_pb2.ErrorInfo()
    violations: list[Violation] = []
    retry_after: float | None = None
    for detail in status.details:
        bad, retry = error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
        if detail.Unpack(bad):
            violations += [Violation(v.field, v.description) for v in bad.field_violations]
        elif detail.Unpack(retry):
            retry_after = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
        else:
            detail.Unpack(info)
    return ApiError(
        code,
        message,
        reason=info.reason,
        metadata=info.metadata,
        violations=tuple(violations),
        request_id=request_id,
        retry_after=retry_after,
        # A service's own message ends with its hint.
        hint="" if info.reason else _HINTS.get(code, ""),
    )
