"""The kinds of errors, one for each gRPC code. A service's own errors subclass a kind.

DomainError
├── InvalidInput        the request itself is wrong
│   ├── RequestInvalid
│   │   └── ValueUnstorable
│   └── PageTokenInvalid
├── Unauthenticated     who calls is not known
│   ├── TokenMissing
│   └── TokenInvalid
├── Forbidden           who calls may not
│   └── PermissionDenied
├── NotFound
│   └── TenantNotFound  only for callers that may act for all tenants
├── AlreadyExists
├── Conflict            right request, wrong state
│   └── TenantNotActive
├── OutOfRange          behind the end of something
├── LimitExceeded       too much, too many, too fast
│   ├── TooManyCalls
│   └── RequestTooLarge
├── Unavailable         try again later
│   ├── DatabaseUnavailable
│   ├── IssuerUnavailable
│   └── PeerUnavailable
├── DeadlineExceeded    not finished in time
├── DataLoss            stored data is damaged
└── Internal            a defect
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class DomainError(Exception):
    """An error that is sent to the caller: a sentence, a reason for programs, and a hint.

    `metadata` is sent as ErrorInfo.metadata; `retry_after_ms` in it also as a RetryInfo. `domain`
    is the ErrorInfo's; empty for that of the service that raises it. `retry_at_once` False keeps
    clients from retrying by themselves, as they do when a service is unavailable.
    """

    reason: str = ""
    hint: str = ""
    domain: str = ""
    retry_at_once: bool = True

    def __init__(self, message: str, /, **metadata: str) -> None:
        super().__init__(message)
        self.message = message
        self.metadata = metadata


class StartRefused(Exception):
    """A process cannot do its work as it was started; the message says why and how to fix it."""


class SharedError(DomainError):
    """An error that any service may return: its reason is one of nagaya.options.v1."""

    domain = "options.nagaya.dev"


@dataclass(frozen=True, slots=True)
class Violation:
    """A field of the request, and what is wrong with it."""

    field: str
    description: str


class InvalidInput(DomainError):
    """The request itself is wrong; `violations` name its fields."""

    def __init__(
        self, message: str, /, *, violations: Sequence[Violation] = (), **metadata: str
    ) -> None:
        super().__init__(message, **metadata)
        self.violations = tuple(violations)


class Unauthenticated(DomainError):
    """It is not known who calls."""


class Forbidden(DomainError):
    """The caller may not do this."""


class NotFound(DomainError):
    """There is no such thing."""


class AlreadyExists(DomainError):
    """There is such a thing already, and it is another one."""


class Conflict(DomainError):
    """The request is right, and the state of the system does not allow it."""


class OutOfRange(DomainError):
    """The request asks for something behind an end."""


class LimitExceeded(DomainError):
    """Too much, too many, or too often."""


class Unavailable(DomainError):
    """Something that is needed is away; the same call may succeed later."""


class DeadlineExceeded(SharedError):
    """The call did not end in time."""

    reason = "ERROR_REASON_DEADLINE_EXCEEDED"
    hint = "Allow the call more time, or ask for less."


class DataLoss(DomainError):
    """Stored data is damaged."""


class Internal(SharedError):
    """A defect of the service; its log has the story under the `error_id`."""

    reason = "ERROR_REASON_INTERNAL"


class TokenMissing(SharedError, Unauthenticated):
    """The call carries no token."""

    reason = "ERROR_REASON_TOKEN_MISSING"
    hint = "Send the metadata `authorization: Bearer <token>`."


class TokenInvalid(SharedError, Unauthenticated):
    """The token is not valid; the message says why."""

    reason = "ERROR_REASON_TOKEN_INVALID"
    hint = "Get a new token from the issuer that the service is configured with."


class PermissionDenied(SharedError, Forbidden):
    """The caller may not call the method, or not for this tenant, or there is no such tenant."""

    reason = "ERROR_REASON_PERMISSION_DENIED"
    hint = "Ask for a token with the method's permission and the tenant."

    def __init__(
        self, message: str = "the caller may not call this method for this tenant", **metadata: str
    ) -> None:
        super().__init__(message, **metadata)


class RequestInvalid(SharedError, InvalidInput):
    """The request breaks a rule of its contract."""

    reason = "ERROR_REASON_REQUEST_INVALID"
    hint = "Each wrong field is listed in the details of the status."


class ValueUnstorable(RequestInvalid):
    """A text or number cannot be stored; the interceptor names the fields that hold it."""

    hint = "Leave U+0000 out of every text, and send only numbers that JSON has."


class PageTokenInvalid(SharedError, InvalidInput):
    """The page token was not made by this method."""

    reason = "ERROR_REASON_PAGE_TOKEN_INVALID"
    hint = "Send the next_page_token of the page before, unchanged, or nothing for the first page."


class TenantNotFound(SharedError, NotFound):
    """There is no such tenant; raised only to callers that may act for all tenants."""

    reason = "ERROR_REASON_TENANT_NOT_FOUND"
    hint = "List the tenants with ListTenants."


class TooManyCalls(SharedError, LimitExceeded):
    """The caller or tenant has too many calls in progress."""

    reason = "ERROR_REASON_LIMIT_EXCEEDED"
    hint = "Wait for calls to finish, then call again."


class RequestTooLarge(SharedError, LimitExceeded):
    """A message has more bytes than the service accepts."""

    reason = "ERROR_REASON_LIMIT_EXCEEDED"
    hint = "Send less at once."


class TenantNotActive(SharedError, Conflict):
    """The tenant is suspended, is still being created, or lacks a migration."""

    reason = "ERROR_REASON_TENANT_NOT_ACTIVE"
    hint = (
        "Resume the tenant with ResumeTenant, or finish its creation with CreateTenant; one that "
        "is behind is served once its database is migrated."
    )


class DatabaseUnavailable(SharedError, Unavailable):
    """A database cannot be reached, or a connection to it was lost."""

    reason = "ERROR_REASON_DATABASE_UNAVAILABLE"
    hint = "Call again in a moment."


class IssuerUnavailable(SharedError, Unavailable):
    """A token cannot be verified: the keys of its issuer cannot be fetched."""

    reason = "ERROR_REASON_ISSUER_UNAVAILABLE"
    hint = "Call again in a moment. The log of the service says why, under `issuer.unavailable`."


class PeerUnavailable(SharedError, Unavailable):
    """Another service cannot be reached."""

    reason = "ERROR_REASON_PEER_UNAVAILABLE"
    hint = "Call again."
