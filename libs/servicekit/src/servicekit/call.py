"""The call that is being served, who makes it, and whom outgoing calls act for.

Data of a request rides the context; dependencies never do.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from servicekit.errors import TokenMissing

if TYPE_CHECKING:
    from collections.abc import Generator

    from servicekit.identity import Principal
    from servicekit.policy import Method


@dataclass(slots=True, eq=False)
class Call:
    """One call as its handler sees it, or a piece of background work."""

    request_id: str = ""
    principal: Principal | None = None
    tenant_id: str | None = None
    user_id: str | None = None
    method: Method | None = None
    deadline: float | None = None
    """When the call must be over, on the clock of time.monotonic."""
    traceparent: str | None = None

    def remaining(self) -> float | None:
        """Return how many seconds are left; None when there is no deadline."""
        return None if self.deadline is None else self.deadline - time.monotonic()


_current: ContextVar[Call | None] = ContextVar("servicekit_call", default=None)


def current_call() -> Call | None:
    """Return the call being served in this task, or None."""
    return _current.get()


def current_principal() -> Principal:
    """Return who is calling. Raises TokenMissing outside of a call and of `acting_as`."""
    call = current_call()
    if call is None or call.principal is None:
        raise TokenMissing("no call is being served, and acting_as names nobody")
    return call.principal


def begin(call: Call) -> None:
    """Make `call` the one being served for the rest of this task."""
    _current.set(call)


@contextmanager
def serving(call: Call) -> Generator[Call]:
    """Serve `call` inside the block."""
    token = _current.set(call)
    try:
        yield call
    finally:
        _current.reset(token)


@contextmanager
def acting_as(principal: Principal) -> Generator[None]:
    """Inside the block, `principal` is who acts: for background work."""
    with serving(replace(current_call() or Call(), principal=principal, user_id=principal.user_id)):
        yield


@contextmanager
def calling(tenant_id: str | None = None, user_id: str | None = None) -> Generator[None]:
    """Inside the block, outgoing calls act for this tenant and this person.

    No person means the workload itself; no tenant means a call that belongs to none.
    """
    with serving(replace(current_call() or Call(), tenant_id=tenant_id, user_id=user_id)):
        yield
