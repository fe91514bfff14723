"""`nagaya whoami`."""

from __future__ import annotations

import json
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

import click
import jwt

from nagaya.tenant.v1 import tenant_service_pb2
from nagaya_client.cli.command import Command
from nagaya_client.cli.session import Session, api_command
from nagaya_client.errors import ApiError, SettingsInvalid
from nagaya_client.login.saved import SavedLogin
from nagaya_client.tokens import Token

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from nagaya_client.tokens import TokenSource

_KNOWN = "PERMISSION_DENIED"
"""What whoever is known, and may not list tenants, is answered."""
_NOT_KNOWN = "UNAUTHENTICATED"
_NAMES = ("name", "preferred_username", "email")
_PERMISSIONS = ("scope", "scp", "permissions", "roles")
_TIMES = ("exp", "iat", "nbf", "auth_time")
_ABSENT = "in no claim of the usual names: --claims shows all"


@click.command(cls=Command, rpcs=())
@click.option("-r", "--raw", is_flag=True, help="Only the token itself, and ask nobody.")
@click.option("--claims", "all_claims", is_flag=True, help="Every claim of the token, as it is.")
@api_command
async def command(session: Session, *, raw: bool, all_claims: bool) -> None:
    """Show who you are to Nagaya, and whether your token is accepted.

    Your tenants and permissions are those in the claims of the usual names. Which claims count is a
    setting of the services; --claims shows every one.
    """
    source = session.settings.token
    token = await source.read()
    if raw:
        click.echo(token)
        return
    claims = _claims(token)
    refusal = await _refusal(session)
    if all_claims:
        shown = {name: _text(name, value) for name, value in claims.items()}
    else:
        shown = _person(claims) | {"accepted": _accepted(refusal), "token": _origin(source)}
    session.printer.show_record(shown)
    if refusal is not None:
        raise refusal


async def _refusal(session: Session) -> ApiError | None:
    """Return why the token is not accepted, or why nobody could be asked."""
    request = tenant_service_pb2.ListTenantsRequest(page_size=1)
    try:
        await session.client.tenants.ListTenants(request)
    except ApiError as error:
        return None if error.code.name == _KNOWN else error
    return None


def _accepted(refusal: ApiError | None) -> str:
    if refusal is None:
        return "yes"
    return "no" if refusal.code.name == _NOT_KNOWN else "not known: the service did not say"


def _origin(source: TokenSource) -> str:
    match source:
        case SavedLogin(file) | Token(file=file) if file is not None:
            return str(file)
        case _:
            return "NAGAYA_TOKEN or a profile"


def _claims(token: str) -> dict[str, Any]:
    try:
        return jwt.decode(token, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        raise SettingsInvalid("your token is no JWT, so no service accepts it") from None


def _person(claims: Mapping[str, Any]) -> dict[str, str]:
    """Return what the claims of the usual names say of the person."""
    user = str(claims.get("sub", ""))
    name = next((str(claims[key]) for key in _NAMES if claims.get(key)), "")
    tenants = [
        tenant
        for key, value in claims.items()
        if key.rpartition("/")[2] == "tenants"
        for tenant in _words(value)
    ]
    permissions = [word for key in _PERMISSIONS for word in _words(claims.get(key))]
    for access in _members(claims.get("resource_access")):
        permissions += _words(access.get("roles"))
    return {
        "name": f"{name} ({user})" if name and user and name != user else name or user,
        "tenants": "all" if "*" in tenants else _joined(tenants),
        "permissions": "all" if "*" in permissions else _joined(permissions),
        "expires": _expiry(claims.get("exp")),
        "issuer": str(claims.get("iss", "")),
    }


def _words(value: object) -> list[str]:
    """Return the words of a list, or of one text with spaces between them."""
    if isinstance(value, list):
        return [str(word) for word in cast("list[object]", value)]
    return value.split() if isinstance(value, str) else []


def _members(value: object) -> list[dict[str, object]]:
    """Return the objects within an object."""
    found = cast("dict[str, object]", value) if isinstance(value, dict) else {}
    return [cast("dict[str, object]", inner) for inner in found.values() if isinstance(inner, dict)]


def _joined(words: Iterable[str]) -> str:
    return " ".join(dict.fromkeys(words)) or _ABSENT


def _expiry(value: object) -> str:
    if not isinstance(value, (int, float)):
        return "never, so no service accepts it"
    when = _text("exp", value)
    return when if value > time.time() else f"{when}: it has expired"


def _text(name: str, value: object) -> str:
    if name in _TIMES and isinstance(value, (int, float)):
        return f"{datetime.fromtimestamp(value).astimezone():%Y-%m-%d %H:%M:%S}"
    if isinstance(value, list):
        return " ".join(map(str, cast("list[object]", value)))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
