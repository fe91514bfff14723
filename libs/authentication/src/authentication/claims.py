"""From the claims of a verified token to the caller."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import jwt

from authentication.tokens import LEEWAY_SECONDS
from servicekit.identity import WORKLOAD_PREFIX, WORKLOAD_SECONDS, Principal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_USER_BYTES = 256
_MISSING = object()
_TENANT_ID = re.compile(r"[a-z][a-z0-9-]{1,38}[a-z0-9]")  # text_rules.proto


@dataclass(frozen=True, slots=True)
class ClaimMapping:
    """Which claims of an issuer say who somebody is and what they may do.

    A claim is named by its name, or by a JSON pointer (RFC 6901) where it lies within another one:
    `/realm_access/roles`. Of tenants and permissions only those count that begin with the prefix.
    """

    user: str = "sub"
    tenants: str = "tenants"
    tenant_prefix: str = ""
    permissions: tuple[str, ...] = ("scope",)
    permission_prefix: str = ""
    groups: str = "groups"


Groups = dict[str, frozenset[str]]
"""The permissions of each group of the issuer."""


@dataclass(frozen=True, slots=True)
class PeopleRule:
    """How claims of people are read."""

    mapping: ClaimMapping = ClaimMapping()
    groups: Mapping[str, frozenset[str]] = field(default_factory=Groups)


def person(claims: Mapping[str, Any], rule: PeopleRule) -> Principal:
    """Return the person of an issuer's token. Raises InvalidTokenError."""
    mapping = rule.mapping
    for name, why in (
        ("cnf", "it is bound to a key that no call proves (cnf)"),
        ("events", "it tells of an event and is no token for calls (events)"),
    ):
        if name in claims:
            raise jwt.InvalidTokenError(why)
    if mapping.user in ("email", "/email") and claims.get("email_verified") is not True:
        raise jwt.InvalidTokenError("the issuer has not verified the email of its user")
    user_id = _user(_found(claims, mapping.user), mapping.user)
    if user_id.startswith(WORKLOAD_PREFIX):
        raise jwt.InvalidTokenError(f"{mapping.user} names no person")
    tenants = _stripped(_texts(claims, mapping.tenants), mapping.tenant_prefix)
    permissions = {
        permission
        for name in mapping.permissions
        for permission in _stripped(_words(claims, name), mapping.permission_prefix)
    }
    for group in _texts(claims, mapping.groups) if rule.groups else ():
        permissions |= rule.groups.get(group, frozenset())
    return Principal(user_id, None, frozenset(tenants), frozenset(permissions))


def workload(claims: Mapping[str, Any], name: str) -> Principal:
    """Return the workload that has signed a token with its key. Raises InvalidTokenError."""
    user_id = _user(claims["sub"], "sub")
    actor: object = claims.get("act")
    if not isinstance(actor, dict) or cast("dict[str, object]", actor).get("sub") != name:
        raise jwt.InvalidTokenError("the key belongs to another workload")
    if user_id.startswith(WORKLOAD_PREFIX) and user_id != WORKLOAD_PREFIX + name:
        raise jwt.InvalidTokenError("a workload cannot act for another one")
    if claims["exp"] > time.time() + WORKLOAD_SECONDS + LEEWAY_SECONDS:
        raise jwt.InvalidTokenError("a workload's token lives for 5 minutes at most")
    tenant: object = claims.get("tenant")
    if tenant is not None and not (isinstance(tenant, str) and _TENANT_ID.fullmatch(tenant)):
        raise jwt.InvalidTokenError("a workload's token names one tenant or none")
    return Principal(user_id, name, frozenset(() if tenant is None else (tenant,)), frozenset())


def _user(value: object, claim: str) -> str:
    """Return who calls. Raises InvalidTokenError for what no audit entry could hold."""
    if isinstance(value, str) and "\0" not in value:
        try:
            size = len(value.encode())
        except UnicodeEncodeError:
            size = 0
        if 0 < size <= _USER_BYTES:
            return value
    raise jwt.InvalidTokenError(f"{claim} is no name of 1 to {_USER_BYTES} bytes")


def _found(claims: Mapping[str, Any], name: str) -> object:
    """Return a claim by its name or pointer; _MISSING where there is none."""
    if not name.startswith("/"):
        return claims.get(name, _MISSING)
    value: object = claims
    for part in name[1:].split("/"):
        if not isinstance(value, dict):
            return _MISSING
        key = part.replace("~1", "/").replace("~0", "~")
        value = cast("dict[str, object]", value).get(key, _MISSING)
    return value


def _texts(claims: Mapping[str, Any], name: str) -> list[str]:
    """Return a claim's list of texts; none where it is missing."""
    value = _found(claims, name)
    if value is _MISSING:
        return []
    texts: list[object] = cast("list[object]", value) if isinstance(value, list) else [None]
    if not all(isinstance(text, str) for text in texts):
        raise jwt.InvalidTokenError(f"{name} is no list of texts")
    return cast("list[str]", texts)


def _words(claims: Mapping[str, Any], name: str) -> list[str]:
    """Return a claim's words: a list of texts, or one text with spaces between them."""
    value = _found(claims, name)
    return value.split() if isinstance(value, str) else _texts(claims, name)


def _stripped(texts: list[str], prefix: str) -> Iterator[str]:
    return (text.removeprefix(prefix) for text in texts if text.startswith(prefix))
