"""`nagaya whoami`."""

from __future__ import annotations

import json
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
    from nagaya_client.tokens import TokenSource

_REFUSED = "PERMISSION_DENIED"
_TIMES = ("exp", "iat", "nbf", "auth_time")


@click.command(cls=Command, rpcs=())
@click.option("-r", "--raw", is_flag=True, help="Only the token itself, and ask nobody.")
@api_command
async def command(session: Session, *, raw: bool) -> None:
    """Show what your token says, and whether it is accepted.

    Which of its claims name you, your tenants and your permissions is a setting of the services.
    """
    source = session.settings.token
    token = await source.read()
    if raw:
        click.echo(token)
        return
    claims = _claims(token)
    session.printer.show_record({"token": _origin(source), **claims})
    request = tenant_service_pb2.ListTenantsRequest(page_size=1)
    try:
        await session.client.tenants.ListTenants(request)
    except ApiError as error:
        if error.code.name != _REFUSED:  # whom it refuses it knows
            raise


def _origin(source: TokenSource) -> str:
    match source:
        case SavedLogin(file) | Token(file=file) if file is not None:
            return str(file)
        case _:
            return "NAGAYA_TOKEN or a profile"


def _claims(token: str) -> dict[str, str]:
    try:
        claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        raise SettingsInvalid("your token is no JWT, so no service accepts it") from None
    return {name: _text(name, value) for name, value in claims.items()}


def _text(name: str, value: object) -> str:
    if name in _TIMES and isinstance(value, (int, float)):
        return f"{datetime.fromtimestamp(value).astimezone():%Y-%m-%d %H:%M:%S}"
    if isinstance(value, list):
        return " ".join(map(str, cast("list[object]", value)))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
