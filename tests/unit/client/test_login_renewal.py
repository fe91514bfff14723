"""How the token of a login is renewed, at a provider that answers as a test says."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from nagaya.runs.v1 import run_service_pb2
from nagaya_client.client import Client
from nagaya_client.errors import LoginFailed
from nagaya_client.login.grant import Grant
from nagaya_client.login.saved import SavedLogin

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.client.api import Api
    from tests.unit.client.provider import Provider

    from nagaya_client.settings import Settings


@pytest.fixture
def login(provider: Provider, tmp_path: Path) -> SavedLogin:
    """A login whose token is valid still, and is to be renewed."""
    saved = SavedLogin(tmp_path / "logins" / "default.json")
    now = time.time()
    saved.save(provider.settings(), Grant("the first", "again", now - 1, now + 60))
    return saved


async def test_a_new_login_is_not_replaced_by_a_renewal_under_way(
    provider: Provider, login: SavedLogin
) -> None:
    provider.may_answer.clear()
    provider.gives(refresh_token="of the former")
    reading = asyncio.create_task(login.read())
    await provider.asked.wait()

    end = time.time() + 3600
    new = Grant("of another person", "of the new", end, end)
    saving = asyncio.create_task(asyncio.to_thread(login.save, provider.settings(), new))
    await asyncio.wait({saving}, timeout=0.5)  # without a lock it is over in a millisecond
    provider.may_answer.set()
    await asyncio.gather(reading, saving)

    assert await login.read() == "of another person"


async def test_a_provider_that_is_away_is_not_asked_at_every_call(
    provider: Provider, login: SavedLogin
) -> None:
    provider.answers.append((503, "busy"))
    assert [await login.read() for _ in range(3)] == ["the first"] * 3
    assert len(provider.forms) == 1

    _, grant = login.load()
    assert 0 < grant.renew_time - time.time() <= 10
    login.save(provider.settings(), replace(grant, renew_time=time.time() - 1))
    provider.gives()
    assert await login.read() not in {"the first", ""}
    assert [form["refresh_token"] for form in provider.forms] == ["again", "again"]


async def test_a_token_that_has_expired_is_renewed_whenever_that_was_to_be(
    provider: Provider, login: SavedLogin
) -> None:
    now = time.time()
    login.save(provider.settings(), Grant("expired", "again", now + 10, now - 1))
    provider.answers.append((503, "busy"))
    with pytest.raises(LoginFailed, match="answered with status 503"):
        await login.read()

    provider.gives()
    assert await login.read() != "expired"


@pytest.mark.parametrize("stream", [False, True])
async def test_other_tasks_go_on_while_a_call_waits_for_a_renewal(
    provider: Provider, login: SavedLogin, api: Api, settings: Settings, *, stream: bool
) -> None:
    api.on("GetRun", run_service_pb2.GetRunResponse())
    api.on("WatchRun", [run_service_pb2.WatchRunResponse()])
    provider.may_answer.clear()
    provider.gives()
    async with Client.connect(replace(settings, token=login)) as client:
        call: Any = _watched(client) if stream else client.runs.GetRun(_GET)
        calling = asyncio.create_task(call)
        await provider.asked.wait()  # whose answers are made in this loop
        assert not calling.done()
        provider.may_answer.set()
        await calling

    assert [call.metadata["authorization"] for call in api.calls] == [
        f"Bearer {await login.read()}"
    ]


async def test_a_stream_whose_token_cannot_be_renewed_fails_with_the_reason(
    provider: Provider, login: SavedLogin, settings: Settings
) -> None:
    provider.refuses("invalid_grant")
    async with Client.connect(replace(settings, token=login)) as client:
        stream = client.runs.WatchRun(_WATCH)
        with pytest.raises(LoginFailed, match=r"has ended \(invalid_grant\)"):
            await anext(aiter(stream))
        assert not stream.cancel()


async def test_a_stream_that_is_cancelled_before_it_begins_asks_for_nothing_more(
    api: Api, client: Client
) -> None:
    api.on("WatchRun", [run_service_pb2.WatchRunResponse()])
    stream = client.runs.WatchRun(_WATCH)
    assert stream.cancel()
    with pytest.raises(asyncio.CancelledError):
        await anext(aiter(stream))


_GET = run_service_pb2.GetRunRequest(tenant_id="acme", run_id="r")
_WATCH = run_service_pb2.WatchRunRequest(tenant_id="acme", run_id="r")


async def _watched(client: Client) -> list[object]:
    return [response async for response in client.runs.WatchRun(_WATCH)]
