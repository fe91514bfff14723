"""People of a real OpenID Connect provider call a real server."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from tests.support.npm_oidc_provider import NpmOidcProvider
from tests.support.oidc_login import tokens_of_person
from tests.support.oidc_verifier import configured
from tests.support.waiting import wait_until
from tests.unit.interceptor.probe import Request, Stub, binding, echo

from authentication.verifier import open_verifier
from interceptor.server import Server
from servicekit.channel import open_channel
from servicekit.errors import Forbidden, Unauthenticated, Unavailable
from servicekit.testing import Keys

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator
    from pathlib import Path


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[NpmOidcProvider]:
    with NpmOidcProvider(tmp_path).installed() as provider:
        yield provider


@asynccontextmanager
async def serving(folder: Path, provider: NpmOidcProvider) -> AsyncGenerator[str]:
    """Serve for people of the provider; yield the server's address."""
    server_config, oidc = configured(Keys(folder), provider.url)
    async with open_verifier(server_config, oidc) as verifier:
        server = Server(server_config, [binding(Ask=echo)], verifier)
        port = await server.start()
        yield f"127.0.0.1:{port}"
        await server.stop(0.0)


async def ask(address: str, token: str, tenant_id: str = "acme") -> None:
    async with open_channel(address, None, token) as channel:
        await Stub(channel).ask(Request(tenant_id=tenant_id, text="hello"))


async def is_answered(address: str, token: str) -> bool:
    try:
        await ask(address, token)
    except Unavailable:
        return False
    return True


async def test_programs_and_people_of_a_provider_may_do_what_their_tokens_say(
    tmp_path: Path, provider: NpmOidcProvider
) -> None:
    await asyncio.to_thread(provider.start, "one", "RS256")
    async with serving(tmp_path, provider) as address:
        program = await provider.token_of_client("probe.use")
        person = await tokens_of_person(provider.url, "ada", "probe.use")
        idle = await provider.token_of_client("runs.read")

        await ask(address, program)
        await ask(address, person["access_token"])
        with pytest.raises(Unauthenticated, match="audience"):
            await ask(address, person["id_token"])
        with pytest.raises(Forbidden, match=r"lacks permission probe\.use"):
            await ask(address, idle)
        with pytest.raises(Forbidden):
            await ask(address, program, "globex")


async def test_a_provider_may_be_away_and_return_with_another_key(
    tmp_path: Path, provider: NpmOidcProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A call of this contract may take two seconds.
    monkeypatch.setattr("authentication.oidc.issuer._INTERVAL_SECONDS", 0.1)
    await asyncio.to_thread(provider.start, "one", "RS256")
    old = await provider.token_of_client("probe.use")
    provider.stop()
    async with serving(tmp_path, provider) as address:
        with pytest.raises(Unavailable) as refused:
            await ask(address, old)
        assert refused.value.reason == "ERROR_REASON_ISSUER_UNAVAILABLE"

        await asyncio.to_thread(provider.start, "two", "ES256")
        new = await provider.token_of_client("probe.use")
        await wait_until(lambda: is_answered(address, new))
        with pytest.raises(Unauthenticated, match="no key has its kid"):
            await ask(address, old)

        provider.stop()
        await ask(address, new)
