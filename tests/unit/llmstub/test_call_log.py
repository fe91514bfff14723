"""The call log: one beginning and one end for every call, whatever becomes of it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from typing import TYPE_CHECKING, Any

import aiohttp
from tests.unit.llmstub.provider_client import (
    FORMATS,
    KEYS,
    PROMPT,
    ProviderClient,
    request,
    text_of,
)

from llmstub import Latency, LlmStub, Settings

if TYPE_CHECKING:
    from pathlib import Path

SLOW = Latency(first_token_ms=5, chunk_ms=20, jitter=0)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def halves(path: Path, event: str) -> list[dict[str, Any]]:
    return [line for line in lines(path) if line["event"] == event]


async def test_a_call_is_logged_when_it_begins_and_when_it_ends(
    client: ProviderClient, calls_file: Path
) -> None:
    path, provider, body = request("claude", stream=True)
    raw = json.dumps(body).encode()
    response = await client.post(path, provider, raw, {"x-nagaya-call": "acme/run/outline/1"})
    begin, end = lines(calls_file)

    assert begin["seq"] == end["seq"] == 1
    assert begin["provider"] == "claude"
    assert begin["path"] == "/v1/messages"
    assert begin["model"] == "claude-sonnet-5-5"
    assert begin["stream"] is True
    assert begin["idempotency"] == "acme/run/outline/1"
    assert begin["body_digest"] == hashlib.sha256(raw).hexdigest()
    text = text_of("claude", response)
    assert end["reply_digest"] == hashlib.sha256(text.encode()).hexdigest()
    assert (end["outcome"], end["status"], end["finish_reason"]) == ("ok", 200, "end_turn")
    assert begin["time"] < end["time"]


async def test_neither_texts_nor_keys_are_logged_unless_asked_for(
    client: ProviderClient, calls_file: Path, tmp_path: Path
) -> None:
    for form in FORMATS:
        await client.generate(form, "A canary-in-the-prompt about rain gardens.")
    log = json.dumps(lines(calls_file))
    assert "canary" not in log
    assert "rain gardens" not in log

    other = tmp_path / "bodies.jsonl"
    async with LlmStub(Settings(calls_file=other, log_bodies=True, latency=Latency(0, 0))) as stub:
        response = await ProviderClient(client.session, stub.url).generate("claude")
        assert halves(other, "begin")[0]["prompt"] == PROMPT
        assert halves(other, "end")[0]["reply"] == text_of("claude", response)
    assert "sk-canary-key" not in json.dumps(lines(other))


async def test_every_call_of_a_mixed_crowd_begins_once_and_ends_once(
    client: ProviderClient, stub: LlmStub, calls_file: Path
) -> None:
    stub.script(
        [
            {"match": {"contains": "drop"}, "action": {"kind": "drop", "after_bytes": 200}},
            {"match": {"contains": "busy"}, "action": {"kind": "overloaded"}},
            {"match": {"contains": "break"}, "action": {"kind": "error_event"}},
        ]
    )
    words = ("drop", "busy", "break", "plain")

    async def generate(n: int) -> None:
        with contextlib.suppress(aiohttp.ClientError):
            prompt = f"{words[n % 4]} {n}"
            await client.generate(FORMATS[n % 3], prompt, stream=n % 2 == 0)

    await asyncio.gather(*(generate(n) for n in range(80)))
    begun = [line["seq"] for line in halves(calls_file, "begin")]
    ended = [line["seq"] for line in halves(calls_file, "end")]
    assert begun == list(range(1, 81))
    assert sorted(ended) == begun
    outcomes = [line["outcome"] for line in halves(calls_file, "end")]
    assert {word: outcomes.count(word) for word in set(outcomes)} == {
        "dropped": 20,
        "overloaded": 20,
        "error_event": 20,
        "ok": 20,
    }


async def test_a_client_that_leaves_is_noticed_within_a_second(calls_file: Path) -> None:
    settings = Settings(latency=SLOW, calls_file=calls_file)
    async with LlmStub(settings) as stub, aiohttp.ClientSession() as session:
        clock = asyncio.get_running_loop().time
        for form in FORMATS:
            path, provider, body = request(form, stream=True)
            reply = await session.post(stub.url + path, json=body, headers=KEYS[provider])
            await reply.content.readany()
            reply.close()
            left = clock()
            gone = await stub.wait_for_calls(1, lambda call: call.end is not None)
            assert clock() - left < 1
            assert gone[-1].outcome == "client_gone"
        await stub.wait_for_calls(4, lambda call: call.outcome == "client_gone")

    ends = halves(calls_file, "end")
    assert [end["status"] for end in ends] == [200] * 4
    assert all(end["input_tokens"] > 0 for end in ends)
    assert all(end["finish_reason"] is None for end in ends)


async def test_an_unknown_path_is_logged_too(client: ProviderClient, calls_file: Path) -> None:
    response = await client.post("/v2/imagine", "openai", {})

    assert response.status == 404
    assert halves(calls_file, "begin")[0]["provider"] == "unknown"
    assert halves(calls_file, "end")[0]["outcome"] == "refused"


async def test_an_oversized_request_is_refused_and_logged(
    client: ProviderClient, stub: LlmStub
) -> None:
    response = await client.post("/v1/messages", "claude", b"x" * (64 * 1024 * 1024 + 1))

    assert response.status == 413
    assert response.body["error"]["type"] == "request_too_large"
    assert stub.calls()[0].outcome == "refused"


async def test_calls_are_filtered_and_waited_for_over_http(
    client: ProviderClient, stub: LlmStub
) -> None:
    url = f"{client.url}/stub/calls"
    query = {"provider": "openai", "outcome": "ok", "at_least": "2", "wait_ms": "5000"}
    waiting = asyncio.create_task(_get(client, url, query))
    for form in FORMATS:
        await client.generate(form)

    found = await waiting
    assert found["count"] == 2
    assert [call["path"] for call in found["calls"]] == ["/v1/responses", "/v1/chat/completions"]
    assert (await _get(client, url, {"after": "3"}))["count"] == 1
    assert len((await _get(client, url, {"limit": "1"}))["calls"]) == 1
    assert (await _get(client, url, {"outcome": "open"}))["count"] == 0
    assert "no such filter" in (await _get(client, url, {"colour": "red"}))["error"]


async def test_an_open_call_is_seen_as_open(client: ProviderClient, stub: LlmStub) -> None:
    stub.script([{"name": "held", "action": {"kind": "hold"}}])
    pending = asyncio.create_task(client.generate("claude"))
    await stub.wait_for_calls(1)

    found = await _get(client, f"{client.url}/stub/calls", {"outcome": "open", "rule": "held"})
    assert found["count"] == 1
    await stub.release()
    await pending


async def test_a_stub_that_stops_ends_its_open_calls(calls_file: Path) -> None:
    async with aiohttp.ClientSession() as session:
        async with LlmStub(Settings(calls_file=calls_file)) as stub:
            stub.script([{"action": {"kind": "hang"}}])
            pending = asyncio.create_task(ProviderClient(session, stub.url).generate("claude"))
            await stub.wait_for_calls(1)
        await asyncio.gather(pending, return_exceptions=True)

    assert [line["outcome"] for line in halves(calls_file, "end")] == ["stopped"]


async def test_a_restarted_stub_goes_on_counting_and_closes_what_was_lost(
    calls_file: Path,
) -> None:
    async with aiohttp.ClientSession() as session:
        async with LlmStub(Settings(calls_file=calls_file, latency=Latency(0, 0))) as stub:
            await ProviderClient(session, stub.url).generate("claude")
            await ProviderClient(session, stub.url).generate("chat")
        cut_off_in_the_third_call(calls_file)
        async with LlmStub(Settings(calls_file=calls_file, latency=Latency(0, 0))) as stub:
            assert [call.outcome for call in stub.calls()] == ["ok", "lost"]
            await ProviderClient(session, stub.url).generate("gemini")
            assert [call.seq for call in stub.calls()] == [1, 2, 3]


def cut_off_in_the_third_call(calls_file: Path) -> None:
    kept = calls_file.read_text().splitlines()[:-1]
    calls_file.write_text("\n".join([*kept, '{"event": "beg']))


async def _get(client: ProviderClient, url: str, query: dict[str, str]) -> dict[str, Any]:
    async with client.session.get(url, params=query) as reply:
        return await reply.json()
