"""Whether a call may go on: who calls, what they may, for whom, for how long, beside how many."""

from __future__ import annotations

import itertools
import re
import uuid
from typing import TYPE_CHECKING

import protovalidate

from servicekit.errors import (
    PermissionDenied,
    RequestInvalid,
    TokenMissing,
    TooManyCalls,
    Violation,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from google.protobuf.message import Message

    from servicekit.call import Call
    from servicekit.identity import Principal, Verifier
    from servicekit.policy import Method

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/-]{1,64}")
_SMALL_BYTES = 16 << 10
_RETRY_AFTER_MS = "200"
_process = uuid.uuid4().hex[:12]
_count = itertools.count(1)


def request_id_of(metadata: Mapping[str, object]) -> str:
    """Return the caller's request id when it is harmless in logs, else a new one."""
    given = metadata.get("x-request-id")
    if isinstance(given, str) and _REQUEST_ID.fullmatch(given):
        return given
    return f"{_process}{next(_count):012x}"


def identify(
    call: Call, method: Method, metadata: Mapping[str, object], verifier: Verifier
) -> Principal:
    """Return who calls, if they may call this method for anybody.

    Raises TokenMissing, TokenInvalid, PermissionDenied.
    """
    header = metadata.get("authorization")
    if not isinstance(header, str) or header[:7].lower() != "bearer ":
        raise TokenMissing("the call carries no token")
    principal = call.principal = verifier.verify(header[7:])
    call.user_id = principal.user_id
    if principal.workload is not None:
        allowed = principal.workload in method.workloads
    else:
        allowed = method.permission != "" and principal.may(method.permission)
    if not allowed:
        raise PermissionDenied
    return principal


def check_tenant(call: Call, tenant_id: str) -> None:
    """Let a caller act for a tenant only if their token covers it. Raises PermissionDenied.

    The empty tenant is for workloads, and for people who may act for all tenants.
    """
    call.tenant_id = tenant_id
    principal = call.principal
    if principal is None or not (
        principal.covers(tenant_id) or (tenant_id == "" and principal.workload is not None)
    ):
        raise PermissionDenied


def check_fields(request: Message, size: int) -> None:
    """Check a request of `size` bytes against the rules of its contract. Raises RequestInvalid.

    Of a large request only the first violation is told: to find them all can take seconds, in
    which nobody else would be served.
    """
    if found := protovalidate.collect_violations(request, fail_fast=size > _SMALL_BYTES):
        violations = tuple(map(_violation, found))
        first = violations[0]
        message = f"{first.field or 'the request'}: {first.description}"
        raise RequestInvalid(message, violations=violations)


class TenantLimit:
    """How many calls of one tenant may be inside at once."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._inside: dict[str, int] = {}

    def enter(self, tenant_id: str) -> None:
        """Count a call in; `leave` must follow. Raises TooManyCalls."""
        inside = self._inside.get(tenant_id, 0)
        if inside >= self._most:
            raise TooManyCalls(
                f"{inside} calls of this tenant are being served", retry_after_ms=_RETRY_AFTER_MS
            )
        self._inside[tenant_id] = inside + 1

    def leave(self, tenant_id: str) -> None:
        inside = self._inside[tenant_id] - 1
        if inside:
            self._inside[tenant_id] = inside
        else:
            del self._inside[tenant_id]


def _violation(found: protovalidate.Violation) -> Violation:
    names: list[str] = []
    for element in found.proto.field.elements if found.proto.field is not None else ():
        names.append(element.field_name)
        if element.subscript is not None:
            names[-1] += f"[{element.subscript.value}]"
    return Violation(".".join(names), found.proto.message or found.proto.rule_id)
