"""Conversion between DomainError and gRPC statuses (google.rpc.Status), both ways."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import grpc
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from servicekit import errors
from servicekit.errors import DomainError, InvalidInput, Violation
from tls.failures import explain

if TYPE_CHECKING:
    from tls.address import ServerAddress

DETAILS_KEY = "grpc-status-details-bin"
_CODES: dict[type[DomainError], grpc.StatusCode] = {
    InvalidInput: grpc.StatusCode.INVALID_ARGUMENT,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.Forbidden: grpc.StatusCode.PERMISSION_DENIED,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.Conflict: grpc.StatusCode.FAILED_PRECONDITION,
    errors.OutOfRange: grpc.StatusCode.OUT_OF_RANGE,
    errors.LimitExceeded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.DataLoss: grpc.StatusCode.DATA_LOSS,
    errors.Internal: grpc.StatusCode.INTERNAL,
}
_GONE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)

# Trailers share one budget of 8 KiB, and base64 adds a third.
_MESSAGE_LIMIT = 1000
_DETAILS_LIMIT = 4096
_VALUE_LIMIT = 256
_LONGEST_DELAY_MS = 315_576_000_000_000  # of a google.protobuf.Duration


class RemoteError(DomainError):
    """An error that another service returned; its class is also the kind of that error."""


_REMOTE: dict[int, type[RemoteError]] = {
    code.value[0]: type(f"Remote{kind.__name__}", (RemoteError, kind), {})
    for kind, code in _CODES.items()
}


class EncodedStatus(NamedTuple):
    """A status as it is sent: code, message, and the serialised google.rpc.Status."""

    code: grpc.StatusCode
    message: str
    details: bytes


def code_of(error: type[DomainError]) -> grpc.StatusCode:
    """Return the code of an error's kind."""
    return next(_CODES[kind] for kind in error.__mro__ if kind in _CODES)


def encode(error: DomainError, domain: str) -> EncodedStatus:
    """Return the status of an error; `domain` is that of the service that raises it."""
    status = to_proto(error, domain)
    return EncodedStatus(code_of(type(error)), status.message, status.SerializeToString())


def to_proto(error: DomainError, domain: str) -> Status:
    """Return an error as google.rpc.Status: for batches, whose items fail one by one."""
    between = " " if error.message.endswith((".", "!", "?")) else ". "
    message = error.message + between + error.hint if error.hint else error.message
    status = Status(code=code_of(type(error)).value[0], message=message[:_MESSAGE_LIMIT])
    metadata = {key: value[:_VALUE_LIMIT] for key, value in error.metadata.items()}
    info = ErrorInfo(reason=error.reason, domain=error.domain or domain, metadata=metadata)
    status.details.add().Pack(info)
    delay = metadata.get("retry_after_ms", "")
    if delay.isdecimal():
        retry = RetryInfo()
        retry.retry_delay.FromMilliseconds(min(int(delay), _LONGEST_DELAY_MS))
        status.details.add().Pack(retry)
    if isinstance(error, InvalidInput) and error.violations:
        status.details.add().Pack(_bad_request(error, _DETAILS_LIMIT - status.ByteSize()))
    return status


def from_proto(status: Status) -> DomainError:
    """Return the RemoteError of a google.rpc.Status that a peer returned."""
    info, violations = ErrorInfo(), list[Violation]()
    for detail in status.details:
        bad = BadRequest()
        if not detail.Unpack(info) and detail.Unpack(bad):
            violations += (Violation(v.field, v.description) for v in bad.field_violations)
    kind = _REMOTE.get(status.code, _REMOTE[grpc.StatusCode.INTERNAL.value[0]])
    error = kind(status.message, **dict(info.metadata))
    error.reason, error.domain = info.reason or kind.reason, info.domain or kind.domain
    error.hint = ""  # it is in the message
    if isinstance(error, InvalidInput):
        error.violations = tuple(violations)
    return error


def decode(error: grpc.aio.AioRpcError, peer: str, address: ServerAddress) -> DomainError:
    """Return the RemoteError of a failed call; PeerUnavailable when no server was reached."""
    code, text = error.code(), error.details() or error.code().name
    status = Status(code=code.value[0], message=text)
    for key, value in error.trailing_metadata():
        if key == DETAILS_KEY and isinstance(value, bytes):
            status.details.extend(Status.FromString(value).details)
    if not status.details and code in _GONE:
        why = explain(text, address)
        message = f"the service {peer} cannot be reached{why and f': {why}'}"
        return errors.PeerUnavailable(message, peer=peer)
    return from_proto(status)


def _bad_request(error: InvalidInput, room: int) -> BadRequest:
    bad = BadRequest()
    for field, description in ((v.field, v.description) for v in error.violations):
        bad.field_violations.add(field=field[:_VALUE_LIMIT], description=description[:_VALUE_LIMIT])
        if bad.ByteSize() > room:
            del bad.field_violations[-1]
            break
    return bad
