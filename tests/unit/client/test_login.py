"""Logging in at a provider that answers as a test says."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from nagaya_client.errors import LoginFailed, SettingsInvalid
from nagaya_client.login import device
from nagaya_client.login.device import DeviceCode
from nagaya_client.login.grant import LoginSettings
from nagaya_client.login.issuer import Issuer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.client.provider import Provider

    from nagaya_client.login.grant import Grant

CODE = DeviceCode("ABCD", "https://x/device", "", "d", interval=5.0, seconds=600.0)


async def finished(provider: Provider, code: DeviceCode = CODE) -> Grant:
    issuer = Issuer(provider.settings())
    return await asyncio.to_thread(device.finish, issuer, code, provider.waits.append)


async def test_a_provider_is_asked_as_seldom_as_it_wants(provider: Provider) -> None:
    for error in ("authorization_pending", "slow_down", "authorization_pending"):
        provider.refuses(error)
    provider.answers.append((503, "busy"))
    provider.refuses("temporarily_unavailable", 503)
    provider.gives(refresh_token="again")

    grant = await finished(provider)

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
        await finished(provider)
    assert not refused.value.transient


async def test_a_code_is_waited_for_as_long_as_it_is_good(provider: Provider) -> None:
    with pytest.raises(LoginFailed, match="nobody entered the code in time"):
        await finished(
            provider, DeviceCode("ABCD", "https://x", "", "d", interval=5.0, seconds=0.0)
        )
    assert provider.forms == []


async def test_a_token_that_no_service_can_verify_is_refused_with_what_helps(
    provider: Provider,
) -> None:
    provider.gives(access_token="opaque")
    with pytest.raises(LoginFailed, match="it is no JWT") as refused:
        await finished(provider)
    assert "NAGAYA_OIDC_AUDIENCE" in refused.value.hint


async def test_how_long_a_token_lasts_is_read_from_it_where_nobody_says(
    provider: Provider,
) -> None:
    provider.gives(expires_in=None)
    grant = await finished(provider)
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


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ({"interval": 3, "expires_in": 900}, (3.0, 900.0)),
        ({"interval": "3", "expires_in": "900"}, (3.0, 900.0)),
        ({}, (5.0, 600.0)),
        ({"interval": 0, "expires_in": "soon"}, (5.0, 600.0)),
        ({"interval": True, "expires_in": "NaN"}, (5.0, 600.0)),
    ],
)
async def test_how_long_a_code_is_good_is_read_as_number_or_text(
    provider: Provider, said: dict[str, object], read: tuple[float, float]
) -> None:
    code = {"device_code": "d", "user_code": "u", "verification_uri": "v"}
    provider.answers.append((200, code | said))

    begun = await asyncio.to_thread(device.begin, Issuer(provider.settings()))
    assert (begun.interval, begun.seconds) == read


async def test_how_long_a_token_lasts_is_read_as_text_too(provider: Provider) -> None:
    provider.gives(expires_in="300")
    grant = await finished(provider)
    assert grant.expire_time - grant.renew_time == 60.0


async def test_a_provider_is_the_one_that_it_says(provider: Provider) -> None:
    provider.issuer.configuration["issuer"] = "https://other.example.com"
    with pytest.raises(LoginFailed, match=r"says that it is https://other\.example\.com"):
        await finished(provider)


async def test_nobody_else_is_asked_for_a_token(provider: Provider) -> None:
    provider.answers.append((307, ""))
    with pytest.raises(LoginFailed, match="answered with status 307"):
        await finished(provider)

    provider.issuer.configuration["token_endpoint"] = "http://login.example.com/token"
    with pytest.raises(SettingsInvalid, match="is no address of an OpenID Connect provider"):
        await finished(provider)


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
