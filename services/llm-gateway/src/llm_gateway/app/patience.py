"""Doing again what could not be done at the moment, because stopping here would lose money."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, TypeVar

from servicekit.errors import (
    DeadlineExceeded,
    DomainError,
    Internal,
    LimitExceeded,
    TenantNotActive,
    Unavailable,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

_FIRST_DELAY = 0.1
_LAST_DELAY = 5.0
_AWAY = (Unavailable, LimitExceeded, DeadlineExceeded)
_log = logging.getLogger(__name__)


async def patiently(
    what: str,
    action: Callable[[], Awaitable[T]],
    seconds: float,
    *,
    paid: bool = False,
    whole: bool = False,
) -> T:
    """Do something that may be done twice; again for so many seconds while its means are away.

    What has been `paid` for waits for a suspended tenant and a peer's defect too, and a `whole`
    reply for whatever it is: to pay for another would be worse. Raises what it raised last.
    """
    until = time.monotonic() + seconds
    delay = _FIRST_DELAY
    while True:
        try:
            return await action()
        except Exception as error:
            if not (whole or _passes(error, paid=paid)) or time.monotonic() + delay > until:
                raise
            reason = error.reason if isinstance(error, DomainError) else type(error).__name__
            _log.warning(f"{what} must wait", extra={"reason": reason})
        await asyncio.sleep(delay)
        delay = min(2 * delay, _LAST_DELAY)


def _passes(error: Exception, *, paid: bool) -> bool:
    if isinstance(error, _AWAY):
        return True
    if not paid or not isinstance(error, DomainError):
        return False
    return isinstance(error, Internal) or error.reason == TenantNotActive.reason
