"""What becomes of what providers and proxies also send, by the ledger and the provider's count."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.integration.llm_gateway.odd_replies import ODD
from tests.integration.llm_gateway.odd_servers import OF_SERVERS
from tests.support.catalog import SCRIPTED
from tests.support.gateway_client import Refused, by_id
from tests.support.gateway_stack import PROVIDER_KEYS
from tests.support.provider_streams import CHAT, STREAMS
from tests.support.scripted_provider import Pause, Reply, Reset

from nagaya.artifacts.v1 import artifact_pb2
from nagaya.llm_gateway.v1 import call_pb2, generation_pb2

if TYPE_CHECKING:
    from tests.support.gateway_client import GatewayClient
    from tests.support.scripted_provider import ScriptedProvider


async def outcome(client: GatewayClient, form: str) -> tuple[str, str]:
    """Ask; return the finish reason and the text, or the reason and the words of the refusal."""
    try:
        done = await client.generate(client.spec(model=by_id(SCRIPTED[form])), seconds=25)
    except Refused as refused:
        return refused.reason, str(refused)
    text = (await client.reply(done.call))["content"]
    return call_pb2.FinishReason.Name(done.call.finish_reason), text


async def long_prompt(client: GatewayClient) -> generation_pb2.GenerationSpec:
    """Return a request with a prompt of 2.9 MB."""
    text = "The heron stood at the weir. " * 100_000
    file = await client.files.upload(json.dumps(text).encode())
    pointer = artifact_pb2.ArtifactPointer(path=file.path, digest=file.digest)
    parts = [generation_pb2.Part(text=f"{client.word}: "), generation_pb2.Part(pointer=pointer)]
    message = generation_pb2.Message(role=generation_pb2.ROLE_USER, parts=parts)
    return client.spec(model=by_id(SCRIPTED["chat"]), messages=[message])


ALL = ODD | OF_SERVERS


@pytest.mark.parametrize("name", ALL)
async def test_what_else_is_sent_becomes_what_it_is(
    scripted: ScriptedProvider, client: GatewayClient, name: str
) -> None:
    odd = ALL[name]
    scripted.script(client.word, odd.reply)

    result, text = await outcome(client, odd.form)

    assert result == odd.outcome
    assert (odd.words in text) if odd.words else (text == odd.text or "FINISH" not in result)
    call = await client.get_call()
    attempt = call.attempts[-1]
    assert len(scripted.requests(client.word)) == len(call.attempts) == odd.requests
    assert odd.kept in attempt.provider_error.message
    assert odd.output in (None, attempt.usage.output_tokens)
    assert odd.estimated in (None, attempt.estimated)
    unknown = odd.outcome == "CALL_OUTCOME_UNKNOWN"
    assert (attempt.state == call_pb2.CALL_STATE_UNKNOWN) == unknown
    assert not unknown or (attempt.estimated and attempt.cost_micro_usd > 0)


async def test_a_server_that_only_pings_after_the_end_is_not_waited_for_long(
    scripted: ScriptedProvider, client: GatewayClient
) -> None:
    pings = (Pause(0.4), ": ping\n\n") * 60

    async def ask(form: str) -> tuple[str, str]:
        run, stream = await client.for_tenant(client.tenant_id), STREAMS[form]
        end = (stream.began(), stream.delta("hi"), stream.ended(stream.complete))
        scripted.script(run.word, Reply((*end, *pings)))
        return await outcome(run, form)

    # At once, since each takes ten seconds. Responses end with an event.
    outcomes = await asyncio.gather(*map(ask, ("claude", "chat", "gemini")))

    assert outcomes == [("FINISH_REASON_STOP", "hi")] * 3


async def test_the_words_about_a_long_prompt_hold_up_nobody_else(
    scripted: ScriptedProvider, client: GatewayClient
) -> None:
    message = "maximum context length is 128000 tokens, your messages have 9000000. " * 30
    body = {"error": {"code": "context_length_exceeded", "message": message}}
    scripted.script(client.word, Reply.of_json(body, "400 Bad Request"))
    other = await client.for_tenant("globex")
    spec = await long_prompt(client)
    asked = asyncio.create_task(client.generate_refused(spec))
    await scripted.wait_for_request(client.word, asked)

    longest, since = 0.0, time.monotonic()
    while not asked.done():
        begun = time.monotonic()
        await other.resolve("draft")
        longest = max(longest, time.monotonic() - begun)

    assert (await asked).reason == "PROVIDER_REFUSED"
    # Looked through between two calls it took five seconds, which was nearly all of the time.
    assert longest < max(2.5, (time.monotonic() - since) / 2)
    assert "heron" not in str((await client.get_call()).attempts)


@pytest.mark.parametrize("form", STREAMS)
async def test_a_page_that_quotes_the_request_is_kept_without_it(
    scripted: ScriptedProvider, client: GatewayClient, form: str
) -> None:
    key = PROVIDER_KEYS[SCRIPTED[form]]
    page = f"<html><h1>Blocked</h1><pre>{client.word} Bearer {key} x-api-key: {key}</pre></html>"
    scripted.script(client.word, Reply((page,), "403 Forbidden", "text/html"))

    refused = await outcome(client, form)

    result = (await client.get_call()).attempts[0].provider_error.message
    assert result.startswith("Blocked")
    for place in (result, str(refused)):
        assert client.word not in place
        assert key not in place
        assert "CANARY" not in place


# Refused, or broken off, while most of the request is still on its way.
EARLY: dict[str, tuple[Reply, str, int]] = {
    "refused": (Reply.of_json({"error": {"message": "m"}}, "413 Too Large"), "PROVIDER_REFUSED", 1),
    "limited": (Reply.of_json({}, "429 Too Many Requests", retry_after="90"),
                "PROVIDER_LIMITED", 1),
    "answered": (Reply(CHAT.whole("hi")), "FINISH_REASON_STOP", 1),
    "broken off": (Reply(before=(Reset(),)), "CALL_OUTCOME_UNKNOWN", 1),
}  # fmt: skip


@pytest.mark.parametrize("name", EARLY)
async def test_an_answer_that_comes_before_the_request_is_read_is_received(
    scripted: ScriptedProvider, client: GatewayClient, name: str
) -> None:
    reply, expected, requests = EARLY[name]
    scripted.script(client.word, replace(reply, early=True))
    spec = await long_prompt(client)

    try:
        done = await client.generate(spec)
    except Refused as refused:
        result = refused.reason
    else:
        result = call_pb2.FinishReason.Name(done.call.finish_reason)

    assert result == expected
    assert len(scripted.requests(client.word)) == requests
