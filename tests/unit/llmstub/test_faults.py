"""Each scripted fault does what it says, exactly as often as it says."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest
from tests.unit.llmstub.provider_client import (
    FORMATS,
    KEYS,
    ProviderClient,
    finish_of,
    request,
    text_of,
    usage_of,
)

from llmstub import Latency, LlmStub, Settings


def once(kind: str, **options: Any) -> list[dict[str, object]]:  # noqa: ANN401 - as scripts are
    return [{"name": kind, "times": 1, "action": {"kind": kind, **options}}]


def last_outcome(stub: LlmStub) -> tuple[str, int | None]:
    end = stub.calls()[-1].end
    assert end is not None
    return end.outcome, end.status


@pytest.mark.parametrize("form", FORMATS)
async def test_a_status_comes_with_headers_and_the_providers_body(
    client: ProviderClient, stub: LlmStub, form: str
) -> None:
    stub.script(once("status", status=503, headers={"Retry-After": "2"}))

    response = await client.generate(form, stream=True)
    assert response.status == 503
    assert response.headers["retry-after"] == "2"
    assert response.body["error"]["message"]
    assert last_outcome(stub) == ("status", 503)
    assert (await client.generate(form)).status == 200
    assert stub.fired("status") == 1


@pytest.mark.parametrize(
    ("form", "status", "sign"),
    [
        ("claude", 529, "overloaded_error"),
        ("responses", 503, "server_is_overloaded"),
        ("chat", 503, "server_is_overloaded"),
        ("gemini", 503, "UNAVAILABLE"),
    ],
)
async def test_each_provider_is_overloaded_in_its_own_words(
    client: ProviderClient, stub: LlmStub, form: str, status: int, sign: str
) -> None:
    stub.script(once("overloaded"))
    response = await client.generate(form)

    assert response.status == status
    assert sign in response.raw.decode()


@pytest.mark.parametrize(
    ("form", "sign"),
    [
        ("claude", "enforced_spend_limit_reached"),
        ("responses", "insufficient_quota"),
        ("chat", "insufficient_quota"),
        ("gemini", "QuotaFailure"),
    ],
)
async def test_a_spend_limit_differs_from_other_429s(
    client: ProviderClient, stub: LlmStub, form: str, sign: str
) -> None:
    stub.script([*once("spend_limit"), *once("status", status=429, headers={"retry-after": "3"})])
    limited, busy = await client.generate(form), await client.generate(form)

    assert (limited.status, busy.status) == (429, 429)
    assert sign in limited.raw.decode()
    assert sign not in busy.raw.decode()
    assert "retry-after" not in limited.headers
    if form == "gemini":
        assert '"retryDelay":"3s"' in busy.raw.decode()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("form", FORMATS)
async def test_a_connection_is_dropped_before_the_first_byte(
    client: ProviderClient, stub: LlmStub, form: str, *, stream: bool
) -> None:
    stub.script(once("drop"))
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await client.generate(form, stream=stream)

    assert last_outcome(stub) == ("dropped", None)
    assert (await client.generate(form)).status == 200


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("form", FORMATS)
async def test_a_connection_is_dropped_after_exactly_so_many_bytes(
    client: ProviderClient, stub: LlmStub, form: str, *, stream: bool
) -> None:
    stub.script(once("drop", after_bytes=500))
    path, provider, body = request(form, stream=stream)
    got = bytearray()

    async def read(reply: aiohttp.ClientResponse) -> None:
        async for data in reply.content.iter_any():
            got.extend(data)

    async with client.session.post(client.url + path, json=body, headers=KEYS[provider]) as reply:
        with pytest.raises(aiohttp.ClientPayloadError):
            await read(reply)

    assert len(got) == 500
    assert last_outcome(stub) == ("dropped", 200)


@pytest.mark.parametrize("form", FORMATS)
async def test_an_error_event_ends_a_stream_under_200(
    client: ProviderClient, stub: LlmStub, form: str
) -> None:
    stub.script(once("error_event", after_chunks=3))
    response = await client.generate(form, stream=True)
    whole = text_of(form, await client.generate(form))

    assert response.status == 200
    assert "breaks this reply" in json.dumps(response.events[-1])
    assert 0 < len(text_of(form, response)) < len(whole)
    assert whole.startswith(text_of(form, response))
    end = stub.calls()[0].end
    assert end is not None
    assert (end.outcome, end.finish_reason) == ("error_event", None)
    assert 0 < end.output_tokens < usage_of(form, await client.generate(form))["output"]


@pytest.mark.parametrize("form", FORMATS)
async def test_an_error_comes_at_the_latest_before_the_last_chunk(
    client: ProviderClient, stub: LlmStub, form: str
) -> None:
    stub.script([{"action": {"kind": "error_event", "after_chunks": 100_000}}])
    response = await client.generate(form, stream=True)

    assert "breaks this reply" in json.dumps(response.events[-1])


@pytest.mark.parametrize("form", FORMATS)
async def test_a_reply_fails_under_200(client: ProviderClient, stub: LlmStub, form: str) -> None:
    stub.script([{"name": "failing", "action": {"kind": "failed"}}])
    streamed, whole = await client.generate(form, stream=True), await client.generate(form)

    assert (streamed.status, whole.status) == (200, 200)
    assert "lets this reply fail" in json.dumps(streamed.events[-1])
    assert "lets this reply fail" in whole.raw.decode()
    if form == "responses":
        assert streamed.events[-1]["type"] == "response.failed"
        assert whole.body["status"] == "failed"
    assert stub.fired("failing") == 2


@pytest.mark.parametrize("form", FORMATS)
async def test_json_ends_in_the_middle(client: ProviderClient, stub: LlmStub, form: str) -> None:
    stub.script([{"name": "cut", "action": {"kind": "truncated_json", "after_chunks": 2}}])
    streamed, whole = await client.generate(form, stream=True), await client.generate(form)

    assert streamed.events[-1]["type"] == "broken"
    with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
        json.loads(whole.raw)
    assert [call.outcome for call in stub.calls()] == ["truncated_json", "truncated_json"]


@pytest.mark.parametrize("form", FORMATS)
async def test_an_unknown_event_leaves_the_reply_whole(
    client: ProviderClient, stub: LlmStub, form: str
) -> None:
    plain = await client.generate(form, stream=True)
    stub.script([{"action": {"kind": "unknown_event"}}])
    streamed, whole = await client.generate(form, stream=True), await client.generate(form)

    assert "llmstub" in json.dumps(streamed.events)
    assert len(streamed.events) == len(plain.events) + 1
    assert text_of(form, plain) == text_of(form, whole)
    assert finish_of(form, streamed) == finish_of(form, plain)
    assert {call.outcome for call in stub.calls()} == {"ok"}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("form", FORMATS)
async def test_a_fixed_reply_has_the_usage_it_names(
    client: ProviderClient, stub: LlmStub, form: str, *, stream: bool
) -> None:
    text = "Exactly this. そのまま。"
    stub.script(once("reply", text=text, reasoning_tokens=7, cached_tokens=5, chunks=4))
    response = await client.generate(form, stream=stream)

    assert text_of(form, response) == text
    used = usage_of(form, response)
    assert used["reasoning"] == 7
    end = stub.calls()[0].end
    assert end is not None
    assert (end.cached_tokens, end.input_tokens) == (5, used["input"] - 5)


@pytest.mark.parametrize("form", FORMATS)
async def test_a_reply_may_be_filtered(client: ProviderClient, stub: LlmStub, form: str) -> None:
    stub.script(once("reply", text="No.", finish="filtered"))
    words = {"claude": "refusal", "responses": "content_filter", "chat": "content_filter"}

    assert finish_of(form, await client.generate(form)) == words.get(form, "SAFETY")


@pytest.mark.parametrize("form", FORMATS)
async def test_reasoning_can_eat_the_limit(
    client: ProviderClient, stub: LlmStub, form: str
) -> None:
    stub.script(once("reply", reasoning_tokens=495))
    response = await client.generate(form, limit=500)

    assert usage_of(form, response) | {"input": 0} == {"input": 0, "output": 500, "reasoning": 495}
    assert finish_of(form, response) in ("max_tokens", "max_output_tokens", "length", "MAX_TOKENS")


@pytest.mark.parametrize("form", FORMATS)
async def test_a_reply_may_be_larger_than_asked(
    client: ProviderClient, stub: LlmStub, form: str
) -> None:
    stub.script(once("oversize", bytes=300_000))
    response = await client.generate(form, limit=100, stream=True)

    assert len(text_of(form, response).encode()) >= 300_000


@pytest.mark.parametrize("form", FORMATS)
async def test_a_repeated_chunk_is_part_of_a_whole_reply(
    client: ProviderClient, stub: LlmStub, form: str
) -> None:
    stub.script([{"action": {"kind": "repeated_chunk", "times": 150}}])
    streamed, whole = await client.generate(form, stream=True), await client.generate(form)

    assert text_of(form, streamed) == text_of(form, whole)
    events = [json.dumps(event.get("delta")) for event in streamed.events if event != "[DONE]"]
    if form == "responses":
        assert max(events.count(event) for event in set(events)) >= 151
    assert usage_of(form, streamed) == usage_of(form, whole)


async def test_delays_and_latencies_are_kept() -> None:
    latency = Latency(first_token_ms=60, chunk_ms=2, jitter=0)
    async with LlmStub(Settings(latency=latency)) as stub, aiohttp.ClientSession() as session:
        client = ProviderClient(session, stub.url)
        clock = asyncio.get_running_loop().time
        started = clock()
        await client.generate("claude", stream=True)
        assert clock() - started >= 0.06

        stub.script(once("delay", delay_ms=200))
        started = clock()
        await client.generate("claude", stream=True)
        assert clock() - started >= 0.26
