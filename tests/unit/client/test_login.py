"""Logging in at a provider that answers as a test says."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from tests.support.oidc_issuer import CONFIGURATION, OidcIssuer

from nagaya_client.errors import LoginFailed, SettingsInvalid
from nagaya_client.login import device
from nagaya_client.login.device import DeviceCode
from nagaya_client.login.grant import Grant, LoginSettings
from nagaya_client.login.issuer import Issuer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

CODE = DeviceCode("ABCD", "https://x/device", "", "d", interval=5.0, seconds=600.0)


class Provider:
    """Answers requests for a token one after another; `forms` are what came."""

    def __init__(self, issuer: OidcIssuer) -> None:
        self.issuer = issuer
        self.answers: list[tuple[int, Any]] = []
        self.forms: list[dict[str, str]] = []
        self.waits: list[float] = []
        issuer.configuration |= {
            "token_endpoint": f"{issuer.url}/token",
            "device_authorization_endpoint": f"{issuer.url}/token",
        }
        issuer.answer = self._answer
        issuer.add_key("one")

    async def _answer(self, request: web.Request) -> web.Response:
        if request.path == CONFIGURATION:
            return web.json_response(self.issuer.configuration)
        self.forms.append({name: str(value) for name, value in (await request.post()).items()})
        status, body = self.answers.pop(0)
        return web.Response(status=status, text=body if isinstance(body, str) else json.dumps(body))

    def refuses(self, error: str, status: int = 400) -> None:
        self.answers.append((status, {"error": error}))

    def gives(self, **changes: object) -> None:
        token = self.issuer.token("one")
        self.answers.append((200, {"access_token": token, "expires_in": 300} | changes))

    def settings(self, **changes: str) -> LoginSettings:
        return LoginSettings(**{"issuer": self.issuer.url, "client_id": "cli"} | changes)

    async def finished(self, code: DeviceCode = CODE) -> Grant:
        issuer = Issuer(self.settings())
        return await asyncio.to_thread(device.finish, issuer, code, self.waits.append)


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with OidcIssuer() as issuer:
        yield Provider(issuer)


async def test_a_provider_is_asked_as_seldom_as_it_wants(provider: Provider) -> None:
    for error in ("authorization_pending", "slow_down", "authorization_pending"):
        provider.refuses(error)
    provider.answers.append((503, "busy"))
    provider.refuses("temporarily_unavailable", 503)
    provider.gives(refresh_token="again")

    grant = await provider.finished()

    assert provider.waits == [5.0, 5.0, 10.0, 10.0, 20.0, 40.0]
    assert (grant.refresh_token, grant.expire_time - grant.renew_time) == ("again", 60.0)
    assert provider.forms[0] == {
        "client_id": "cli",
        "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
        "device_code": "d",
    }


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("access_denied", "the login was refused"),
        ("expired_token", "nobody entered the code in time"),
        ("invalid_scope", "refused: invalid_scope"),
    ],
)
async def test_a_refusal_ends_the_login(provider: Provider, error: str, said: str) -> None:
    provider.refuses(error)
    with pytest.raises(LoginFailed, match=said) as refused:
        await provider.finished()
    assert not refused.value.transient


async def test_a_code_is_waited_for_as_long_as_it_is_good(provider: Provider) -> None:
    with pytest.raises(LoginFailed, match="nobody entered the code in time"):
        await provider.finished(DeviceCode("ABCD", "https://x", "", "d", interval=5.0, seconds=0.0))
    assert provider.forms == []


async def test_a_token_that_no_service_can_verify_is_refused_with_what_helps(
    provider: Provider,
) -> None:
    provider.gives(access_token="opaque")
    with pytest.raises(LoginFailed, match="it is no JWT") as refused:
        await provider.finished()
    assert "NAGAYA_OIDC_AUDIENCE" in refused.value.hint


async def test_how_long_a_token_lasts_is_read_from_it_where_nobody_says(
    provider: Provider,
) -> None:
    provider.gives(expires_in=None)
    grant = await provider.finished()
    assert 290 < grant.expire_time - grant.renew_time + 240 <= 301


async def test_the_api_and_scopes_are_asked_for_as_settings_say(provider: Provider) -> None:
    provider.issuer.configuration["scopes_supported"] = ["openid", "offline_access"]
    provider.answers.append((200, {"device_code": "d", "user_code": "u", "verification_uri": "v"}))
    settings = provider.settings(scope="runs.*  openid", audience="nagaya", resource="https://n")

    code = await asyncio.to_thread(device.begin, Issuer(settings))

    assert (code.interval, code.complete_uri) == (5.0, "")
    assert provider.forms == [
        {
            "client_id": "cli",
            "scope": "openid offline_access runs.*",
            "audience": "nagaya",
            "resource": "https://n",
        }
    ]


async def test_a_provider_is_the_one_that_it_says(provider: Provider) -> None:
    provider.issuer.configuration["issuer"] = "https://other.example.com"
    with pytest.raises(LoginFailed, match=r"says that it is https://other\.example\.com"):
        await provider.finished()


async def test_nobody_else_is_asked_for_a_token(provider: Provider) -> None:
    provider.answers.append((307, ""))
    with pytest.raises(LoginFailed, match="answered with status 307"):
        await provider.finished()

    provider.issuer.configuration["token_endpoint"] = "http://login.example.com/token"
    with pytest.raises(SettingsInvalid, match="is no address of an OpenID Connect provider"):
        await provider.finished()


async def test_what_is_no_provider_is_named(provider: Provider) -> None:
    provider.issuer.answer = None
    settings = provider.settings(issuer=f"{provider.issuer.url}/realms/other")
    with pytest.raises(LoginFailed, match="answered with status 404") as missing:
        await asyncio.to_thread(Issuer(settings).endpoint, "token_endpoint")
    assert not missing.value.transient

    await provider.issuer.stop()
    with pytest.raises(LoginFailed, match=r"cannot be reached: .*refused") as away:
        await asyncio.to_thread(Issuer(provider.settings()).endpoint, "token_endpoint")
    assert away.value.transient


def test_a_file_of_authorities_that_is_none_is_named(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    with pytest.raises(SettingsInvalid, match=r"ca\.pem cannot be used"):
        Issuer(LoginSettings("https://x", "cli", ca_file=str(file)))
