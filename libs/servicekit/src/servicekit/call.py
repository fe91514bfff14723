"""The context of the current call: who makes it, for which tenant, until when.

It is kept in a context variable and holds data of the request only, never dependencies.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import TYPE_CHECKING

from servicekit.errors import PermissionDenied, TokenMissing

if TYPE_CHECKING:
    from collections.abc import Generator

    from servicekit.identity import Principal
    from servicekit.policy import Method


@dataclass(slots=True, eq=False)
class CallContext:
    """The call that is being served, or a piece of background work."""

    request_id: str = ""
    principal: Principal | None = None
    tenant_id: str | None = None
    user_id: str | None = None
    method: Method | None = None
    deadline: float | None = None
    """When the call must have ended, on the clock of time.monotonic."""
    traceparent: str | None = None

    def remaining(self) -> float | None:
        """Return the seconds left until the deadline; None when there is none."""
        return None if self.deadline is None else self.deadline - time.monotonic()


_values = attrgetter(*(field.name for field in fields(CallContext)))
_current: ContextVar[CallContext | None] = ContextVar("servicekit_call", default=None)


def current_call() -> CallContext | None:
    """Return the context of the call that this task serves, or None."""
    return _current.get()


def current_principal() -> Principal:
    """Return who is calling. Raises TokenMissing outside of a call and of `acting_as`."""
    call = current_call()
    if call is None or call.principal is None:
        raise TokenMissing("no call is being served, and acting_as names nobody")
    return call.principal


def require_permission(permission: str) -> None:
    """Check a permission that a call needs besides its method's. Raises PermissionDenied."""
    if not current_principal().may(permission):
        raise PermissionDenied(f"the token lacks permission {permission}", permission=permission)


def set_current_call(call: CallContext) -> None:
    """Make `call` the current one for the rest of this task."""
    _current.set(call)


@contextmanager
def use_call(call: CallContext) -> Generator[CallContext]:
    """Make `call` the current one inside the block."""
    token = _current.set(call)
    try:
        yield call
    finally:
        _current.reset(token)


@contextmanager
def acting_as(principal: Principal) -> Generator[None]:
    """Act as `principal` inside the block: for background work."""
    call = _copy_of_current()
    call.principal, call.user_id = principal, principal.user_id
    with use_call(call):
        yield


@contextmanager
def on_behalf_of(tenant_id: str | None = None, user_id: str | None = None) -> Generator[None]:
    """Send outgoing calls for this tenant and this person inside the block.

    Without a person the workload calls for itself; without a tenant the call belongs to none.
    """
    call = _copy_of_current()
    call.tenant_id, call.user_id = tenant_id, user_id
    with use_call(call):
        yield


def _copy_of_current() -> CallContext:
    """Return a plain copy: the current call may be of a subclass that is made differently."""
    call = current_call()
    return CallContext() if call is None else CallContext(*_values(call))
