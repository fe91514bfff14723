"""An OpenID Connect issuer: what it may do, and what becomes of people when it is away."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from tests.support.oidc_issuer import CONFIGURATION
from tests.support.oidc_verifier import accepted, verifying
from tests.support.waiting import wait_until

from authentication.oidc.documents import fetch_keys
from nagaya_local.machine.ports import free_port
from servicekit.errors import IssuerUnavailable, TokenInvalid

if TYPE_CHECKING:
    import aiohttp
    from tests.support.oidc_issuer import OidcIssuer

    from authentication.keys import KeySet
    from authentication.verifier import Verifier
    from servicekit.testing import Keys


async def test_a_new_key_is_found_by_its_first_token_and_an_old_one_leaves(
    keys: Keys, issuer: OidcIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("authentication.oidc.issuer._REFRESH_SECONDS", 0.2)
    async with verifying(keys, issuer.url) as verifier:
        old = issuer.token("first")
        await verifier.verify(old)

        issuer.add_key("second")
        assert await accepted(verifier, issuer.token("second"))
        assert await accepted(verifier, old)

        issuer.remove_key("first")

        async def withdrawn() -> bool:
            return not await accepted(verifier, old)

        await wait_until(withdrawn)
        assert await accepted(verifier, issuer.token("second"))


async def test_a_token_that_is_known_causes_no_request(keys: Keys, issuer: OidcIssuer) -> None:
    async with verifying(keys, issuer.url) as verifier:
        token = issuer.token("first")
        ada = await verifier.verify(token)
        asked = len(issuer.requests)

        assert all(verifier.known(token) is ada for _ in range(100))
        assert len(issuer.requests) == asked


async def test_tokens_of_unknown_keys_share_a_request(
    keys: Keys, issuer: OidcIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("authentication.oidc.issuer._INTERVAL_SECONDS", 0.5)
    async with verifying(keys, issuer.url) as verifier:
        await verifier.verify(issuer.token("first"))
        issuer.keys |= {f"unknown-{number}": issuer.keys["first"] for number in range(50)}
        unknown = [issuer.token(kid) for kid in issuer.keys if kid.startswith("unknown")]
        expired = issuer.token("unknown-1", exp=1)
        asked, begun = len(issuer.requests), time.monotonic()

        assert not await accepted(verifier, expired)
        assert len(issuer.requests) == asked
        assert not any(await asyncio.gather(*(accepted(verifier, token) for token in unknown)))
        fetches = (len(issuer.requests) - asked) // 2
        assert 1 <= fetches <= 1 + (time.monotonic() - begun) / 0.5


async def test_while_the_issuer_is_away_what_is_known_stays_and_the_rest_is_unavailable(
    keys: Keys, issuer: OidcIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("authentication.oidc.issuer._REFRESH_SECONDS", 0.1)
    await issuer.stop()
    async with verifying(keys, issuer.url) as verifier:
        with pytest.raises(IssuerUnavailable):
            await verifier.verify(issuer.token("first"))
        assert await accepted(verifier, keys.signer("runs").token("acme"))
        assert await accepted(verifier, keys.token())

        await issuer.start()
        await wait_until(lambda: answers(verifier, issuer.token("first")))

        await issuer.stop()
        issuer.add_key("second")
        await wait_until(lambda: is_unavailable(verifier, issuer.token("second")))
        assert await accepted(verifier, issuer.token("first", sub="grace"))


async def answers(verifier: Verifier, token: str) -> bool:
    try:
        await verifier.verify(token)
    except IssuerUnavailable:
        return False
    return True


async def is_unavailable(verifier: Verifier, token: str) -> bool:
    try:
        return not await answers(verifier, token)
    except TokenInvalid:
        return False


async def test_an_issuer_that_does_not_answer_holds_up_nobody_else(
    keys: Keys, issuer: OidcIssuer
) -> None:
    asked, answer = asyncio.Event(), asyncio.Event()

    async def late(request: web.Request) -> web.Response:
        asked.set()
        await answer.wait()
        found = issuer.configuration if request.path == CONFIGURATION else issuer.jwks
        return web.json_response(found)

    issuer.answer = late
    async with verifying(keys, issuer.url) as verifier:
        waiting = asyncio.create_task(verifier.verify(issuer.token("first")))
        await asked.wait()
        assert await accepted(verifier, keys.signer("runs").token("acme"))
        assert not waiting.done()
        answer.set()
        assert (await waiting).user_id == "ada"


async def test_a_defect_does_not_end_the_fetching_of_keys(
    keys: Keys,
    issuer: OidcIssuer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    defects = [RuntimeError("odd")]

    async def fetch(session: aiohttp.ClientSession, url: str) -> KeySet:
        if defects:
            raise defects.pop()
        return await fetch_keys(session, url)

    monkeypatch.setattr("authentication.oidc.issuer.fetch_keys", fetch)
    async with asyncio.timeout(20), verifying(keys, issuer.url) as verifier:
        with pytest.raises(IssuerUnavailable):
            await verifier.verify(issuer.token("first"))
        await wait_until(lambda: answers(verifier, issuer.token("first")))

    assert "issuer.read_failed" in [getattr(record, "event", "") for record in caplog.records]


async def test_no_proxy_answers_for_an_issuer_on_this_machine(
    keys: Keys, issuer: OidcIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    async with verifying(keys, issuer.url) as verifier:
        assert await accepted(verifier, issuer.token("first"))


async def redirect(request: web.Request) -> web.Response:
    raise web.HTTPFound(f"http://localhost:{request.url.port}{request.path}")


async def endless(_: web.Request) -> web.Response:
    return web.json_response({"keys": [], "padding": "x" * (300 << 10)})


async def broken(_: web.Request) -> web.Response:
    return web.Response(text="<html>", status=200)


async def failing(_: web.Request) -> web.Response:
    raise web.HTTPServiceUnavailable


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"configuration": {"issuer": "https://elsewhere.test"}}, "names another issuer"),
        ({"configuration": {"issuer": None}}, "names another issuer"),
        ({"configuration": {"jwks_uri": "http://issuer.test/keys"}}, "no https:// address"),
        ({"configuration": {"jwks_uri": "file:///etc/passwd"}}, "no https:// address"),
        ({"configuration": {"jwks_uri": None}}, "no https:// address"),
        ({"configuration": {"jwks_uri": "https://[x"}}, "no https:// address"),
        ({"jwks": {"keys": []}}, "none of its keys verifies"),
        ({"jwks": {"keys": [{"kty": "oct", "kid": "first", "k": "c2VjcmV0"}]}}, "none of its keys"),
        ({"jwks": {"keys": [{"kty": "RSA", "kid": "first", "key_ops": 5}]}}, "none of its keys"),
        ({"jwks": {"keys": [{"kty": "RSA"}] * 101}}, "101 keys are more than 100"),
        ({"jwks": []}, "no JWKS"),
        ({"answer": redirect}, "answers with status 302"),
        ({"answer": endless}, "more than 262144 bytes"),
        ({"answer": broken}, "no JSON object"),
        ({"answer": failing}, "answers with status 503"),
    ],
)
async def test_what_an_issuer_may_not_say_is_logged_and_people_wait(
    keys: Keys,
    issuer: OidcIssuer,
    caplog: pytest.LogCaptureFixture,
    change: dict[str, Any],
    why: str,
) -> None:
    issuer.configuration |= change.get("configuration", {})
    issuer.jwks = change.get("jwks", issuer.jwks)
    issuer.answer = change.get("answer")
    async with verifying(keys, issuer.url) as verifier:
        with pytest.raises(IssuerUnavailable):
            await verifier.verify(issuer.token("first"))

    (record,) = (one for one in caplog.records if getattr(one, "event", "") == "issuer.unavailable")
    assert why in record.__dict__["why"]
