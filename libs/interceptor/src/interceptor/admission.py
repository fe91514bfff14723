"""Checks before a handler runs: metadata, token, policy of the method, tenant, request."""

from __future__ import annotations

import itertools
import re
import uuid
from typing import TYPE_CHECKING, Any

from interceptor import fields
from servicekit.errors import PermissionDenied, RequestInvalid, TokenInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import grpc
    from google.protobuf.message import Message

    from interceptor.callers import Callers
    from servicekit.call import CallContext
    from servicekit.identity import Principal
    from servicekit.policy import Method

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/-]{1,64}")
_METADATA_ENTRIES = 100
_process = uuid.uuid4().hex[:12]
_count = itertools.count(1)


def check_metadata(
    entries: Sequence[tuple[str, str | bytes]], metadata: Mapping[str, object]
) -> None:
    """Check the entries of a call's metadata; `metadata` has them by key.

    Raises RequestInvalid for too many. Raises TokenInvalid for more than one token: a proxy in
    front may have checked the other one.
    """
    if len(entries) > _METADATA_ENTRIES:
        problem = f"{len(entries)} entries of metadata are more than {_METADATA_ENTRIES}"
        raise RequestInvalid(problem)
    tokens = (key == "authorization" for key, _ in entries)
    if len(metadata) < len(entries) and sum(tokens) > 1:
        raise TokenInvalid("the call carries more than one token")


def request_id_of(metadata: Mapping[str, object]) -> str:
    """Return the caller's `x-request-id` if it is safe to log, or a new id."""
    given = metadata.get("x-request-id")
    if isinstance(given, str) and _REQUEST_ID.fullmatch(given):
        return given
    return f"{_process}{next(_count):012x}"


async def authenticate(
    call: CallContext,
    method: Method,
    metadata: Mapping[str, object],
    context: grpc.aio.ServicerContext[Any, Any],
    callers: Callers,
) -> Principal:
    """Identify the caller and return them, if they may call the method for some tenant.

    Raises TokenMissing, TokenInvalid, IssuerUnavailable, PermissionDenied.
    """
    principal = call.principal = await callers.identify(metadata, context)
    call.user_id = principal.user_id
    permission = method.permission
    if principal.workload is not None:
        if principal.workload not in method.workloads:
            raise PermissionDenied(f"the service {principal.workload} may not call this method")
    elif not permission:
        raise PermissionDenied("only services may call this method")
    elif not principal.may(permission):
        raise PermissionDenied(f"the token lacks permission {permission}", permission=permission)
    elif method.changes_all and not principal.everywhere:
        raise PermissionDenied("the token must cover all tenants: this belongs to none of them")
    return principal


def key_of(principal: Principal) -> str:
    """Return whom a call counts for until its tenant is known.

    That is the only tenant of its token, or else its user, with a colon that no tenant id has.
    """
    if len(principal.tenants) == 1 and not principal.everywhere:
        return next(iter(principal.tenants))
    return f"user:{principal.user_id}"


def check_tenant(call: CallContext, tenant_id: str) -> None:
    """Check that the caller's token covers the tenant of the request. Raises PermissionDenied.

    The empty tenant is for workloads, and for people whose token covers all tenants.
    """
    call.tenant_id = tenant_id
    principal = call.principal
    if principal is None or not (
        principal.covers(tenant_id) or (tenant_id == "" and principal.workload is not None)
    ):
        raise PermissionDenied


def check_fields(request: Message, size: int) -> None:
    """Check a request of `size` bytes against the rules of its contract. Raises RequestInvalid."""
    if excess := fields.find_excess(request, size):
        raise RequestInvalid(f"the request is too much at once: {excess}")
    if found := fields.find_violations(request, size):
        message = f"{found[0].field or 'the request'}: {found[0].description}"
        raise RequestInvalid(message, violations=found)
