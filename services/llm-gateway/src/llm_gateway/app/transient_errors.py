"""Which errors of other services and databases are worth a retry."""

from __future__ import annotations

from servicekit.errors import (
    DeadlineExceeded,
    DomainError,
    Internal,
    LimitExceeded,
    TenantNotActive,
    Unavailable,
)

TRANSIENT = (Unavailable, LimitExceeded, DeadlineExceeded)


def is_transient_once_paid(error: Exception) -> bool:
    """Whether to retry for an attempt that has been paid for.

    Then a suspended tenant and a peer's defect are waited for too.
    """
    if isinstance(error, (*TRANSIENT, Internal)):
        return True
    return isinstance(error, DomainError) and error.reason == TenantNotActive.reason
