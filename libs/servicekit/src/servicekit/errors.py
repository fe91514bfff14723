"""The kinds of refusal. A service's own errors subclass a kind and name their reason.

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
│   └── TenantNotFound  told only to who may act for all tenants
├── AlreadyExists
├── Conflict            right request, wrong state
│   └── TenantNotActive
├── OutOfRange          behind the end of something
├── LimitExceeded       too much, too many, too fast
│   ├── TooManyCalls
│   └── RequestTooLarge
├── Unavailable         try again later
│   ├── DatabaseUnavailable
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
    """Something that a caller is told: a sentence, a reason that programs read, and a hint.

    `metadata` goes to the caller as ErrorInfo.metadata; `retry_after_ms` in it becomes a RetryInfo.
    `domain` says whose reason it is; empty: of the service that raises it. `retry_at_once` False
    keeps clients from calling again by themselves, as they do when a service is unavailable.
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
    """A process cannot do its work as it was started; the message says why and how to mend it."""


class SharedError(DomainError):
    """Mixed into what any service may answer with, by the contract's nagaya.options.v1."""

    domain = "options.nagaya.dev"


@dataclass(frozen=True, slots=True)
class Violation:
    """A field of the request, and what is wrong with it."""

    field: str
    description: str


class InvalidInput(DomainError):
    def __init__(
        self, message: str, /, *, violations: Sequence[Violation] = (), **metadata: str
    ) -> None:
        super().__init__(message, **metadata)
        self.violations = tuple(violations)


class Unauthenticated(DomainError): ...


class Forbidden(DomainError): ...


class NotFound(DomainError): ...


class AlreadyExists(DomainError): ...


class Conflict(DomainError): ...


class OutOfRange(DomainError): ...


class LimitExceeded(DomainError): ...


class Unavailable(DomainError): ...


class DeadlineExceeded(SharedError):
    reason = "ERROR_REASON_DEADLINE_EXCEEDED"
    hint = "Allow the call more time, or ask for less."


class DataLoss(DomainError): ...


class Internal(SharedError):
    reason = "ERROR_REASON_INTERNAL"


class TokenMissing(SharedError, Unauthenticated):
    reason = "ERROR_REASON_TOKEN_MISSING"
    hint = "Send the metadata `authorization: Bearer <token>`."


class TokenInvalid(SharedError, Unauthenticated):
    reason = "ERROR_REASON_TOKEN_INVALID"
    hint = "Get a new token from the issuer that the service is configured with."


class PermissionDenied(SharedError, Forbidden):
    reason = "ERROR_REASON_PERMISSION_DENIED"
    hint = "Ask for a token with the method's permission and the tenant."

    def __init__(self) -> None:
        super().__init__("the caller may not call this method for this tenant")


class RequestInvalid(SharedError, InvalidInput):
    reason = "ERROR_REASON_REQUEST_INVALID"
    hint = "Each wrong field is listed in the details of the status."


class ValueUnstorable(RequestInvalid):
    """A text or number cannot be kept; the interceptor names the fields that hold it."""

    hint = "Leave U+0000 out of every text, and send only numbers that JSON has."


class PageTokenInvalid(SharedError, InvalidInput):
    reason = "ERROR_REASON_PAGE_TOKEN_INVALID"
    hint = "Send the next_page_token of the page before, unchanged, or nothing for the first page."


class TenantNotFound(SharedError, NotFound):
    reason = "ERROR_REASON_TENANT_NOT_FOUND"
    hint = "List the tenants with ListTenants."


class TooManyCalls(SharedError, LimitExceeded):
    reason = "ERROR_REASON_LIMIT_EXCEEDED"
    hint = "Wait for calls to finish, then call again."


class RequestTooLarge(SharedError, LimitExceeded):
    reason = "ERROR_REASON_LIMIT_EXCEEDED"
    hint = "Send less at once."


class TenantNotActive(SharedError, Conflict):
    reason = "ERROR_REASON_TENANT_NOT_ACTIVE"
    hint = "Resume the tenant with ResumeTenant, or finish its creation with CreateTenant."


class DatabaseUnavailable(SharedError, Unavailable):
    reason = "ERROR_REASON_DATABASE_UNAVAILABLE"
    hint = "Call again in a moment."


class PeerUnavailable(SharedError, Unavailable):
    reason = "ERROR_REASON_PEER_UNAVAILABLE"
    hint = "Call again."
