"""Hearing a reply as it grows, and again from anywhere in it."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest
from tests.support.gateway_client import REDO, Refused, by_id, struct

from nagaya.llm_gateway.v1 import call_pb2

if TYPE_CHECKING:
    from tests.support.gateway_client import GatewayClient
    from tests.support.gateway_stack import GatewayStack

    from nagaya.llm_gateway.v1 import generation_pb2, generation_service_pb2

MODELS = ("claude-sonnet-5-5", "gpt-6.2-sol", "gemini-3.8-flash")


async def read_stream(
    client: GatewayClient, spec: generation_pb2.GenerationSpec | None = None, offset: int = 0
) -> tuple[str, list[generation_service_pb2.TextDelta], call_pb2.Call]:
    """Listen to the end; return the text from `offset` on, the deltas and the call."""
    deltas: list[generation_service_pb2.TextDelta] = []
    call = None
    async for event in client.stream(spec, offset=offset):
        assert call is None, "the call is the last message"
        if event.WhichOneof("event") == "delta":
            deltas.append(event.delta)
        else:
            call = event.call
    assert call is not None
    position = offset
    for delta in deltas:
        assert delta.offset == position, "no gap and no repetition"
        position += len(delta.text)
    return "".join(delta.text for delta in deltas), deltas, call


@pytest.mark.parametrize("model", MODELS)
async def test_a_streamed_reply_is_the_stored_one(client: GatewayClient, model: str) -> None:
    text, deltas, call = await read_stream(client, client.spec(model=by_id(model)))

    (sent,) = client.provider_calls()
    assert hashlib.sha256(text.encode()).hexdigest() == sent["reply_digest"]
    assert (await client.reply(call))["content"] == text
    assert {delta.attempt for delta in deltas} == {1}
    assert call.state == call_pb2.CALL_STATE_SETTLED


@pytest.mark.parametrize("model", MODELS)
async def test_a_stream_and_a_plain_call_use_and_cost_the_same(
    client: GatewayClient, model: str
) -> None:
    _, _, streamed = await read_stream(client, client.spec(model=by_id(model), call=1))
    plain = (await client.generate(client.spec(model=by_id(model), call=2))).call

    assert streamed.usage == plain.usage
    assert streamed.cost_micro_usd == plain.cost_micro_usd
    assert streamed.request_digest == plain.request_digest


async def test_a_stored_reply_is_streamed_from_any_offset(client: GatewayClient) -> None:
    whole, _, first = await read_stream(client)

    for offset in (0, 1, len(whole) // 2, len(whole), len(whole) + 100):
        rest, _, call = await read_stream(client, offset=offset)
        assert rest == whole[offset:]
        assert call == first
    assert len(client.provider_calls()) == 1


async def test_characters_are_counted_and_not_bytes(
    stack: GatewayStack, client: GatewayClient
) -> None:
    text_sent = "鶴は千年、亀は万年。🦩" * 40
    stack.stub.script(client.word, {"kind": "reply", "text": text_sent, "chunks": 37})

    whole, _, _ = await read_stream(client)
    rest, _, _ = await read_stream(client, offset=123)

    assert whole == text_sent
    assert rest == text_sent[123:]


async def test_a_structured_reply_resumes_where_it_stopped(
    stack: GatewayStack, client: GatewayClient
) -> None:
    text_sent = '\n{ "title" : "Cr\\u0061nes",\t"count": 1.50 }\n'
    stack.stub.script(client.word, {"kind": "reply", "text": text_sent, "chunks": 5})
    spec = client.spec(output_schema=struct({"type": "object"}))

    whole, _, call = await read_stream(client, spec)
    rest, _, _ = await read_stream(client, spec, offset=20)

    assert whole == text_sent
    assert rest == text_sent[20:]
    assert (await client.reply(call))["content"] == {"title": "Cranes", "count": 1.5}


async def test_a_reply_in_flight_is_joined_from_its_beginning(
    stack: GatewayStack, client: GatewayClient
) -> None:
    rule = stack.stub.script(client.word, {"kind": "hold", "after_chunks": 6})
    first = asyncio.create_task(read_stream(client))
    await stack.stub.wait_until_held(rule, first)
    listeners = [asyncio.create_task(read_stream(client, offset=offset)) for offset in (0, 5)]
    plain = asyncio.create_task(client.generate())
    await asyncio.sleep(0)
    stack.stub.release(rule)

    text, _, call = await first
    (from_start, _, _), (from_five, _, _) = await asyncio.gather(*listeners)

    assert from_start == text
    assert from_five == text[5:]
    assert (await plain).call == call
    assert len(client.provider_calls()) == 1


async def test_a_reply_that_broke_off_begins_again_with_its_next_attempt(
    stack: GatewayStack, client: GatewayClient
) -> None:
    stack.stub.script(client.word, {"kind": "drop", "after_bytes": 2500}, times=1)
    pieces: dict[int, list[str]] = {}
    offsets: dict[int, int] = {}

    async for event in client.stream(client.spec(unknown_policy=REDO)):
        if event.WhichOneof("event") == "delta":
            assert event.delta.offset == offsets.get(event.delta.attempt, 0)
            pieces.setdefault(event.delta.attempt, []).append(event.delta.text)
            offsets[event.delta.attempt] = event.delta.offset + len(event.delta.text)

    assert sorted(pieces) == [1, 2]
    digest = hashlib.sha256("".join(pieces[2]).encode()).hexdigest()
    assert digest == client.provider_calls()[1]["reply_digest"]


@pytest.mark.parametrize("stored", [False, True], ids=["in flight", "stored"])
async def test_a_stream_resumed_during_another_attempt_starts_at_the_beginning_of_that(
    stack: GatewayStack, client: GatewayClient, *, stored: bool
) -> None:
    stack.stub.script(client.word, {"kind": "drop", "after_bytes": 2500}, nth=1)
    rule = stack.stub.script(client.word, {"kind": "hold", "after_chunks": 6}, nth=2)
    spec = client.spec(unknown_policy=REDO)
    async with aclosing(client.stream(spec)) as events:
        broken = (await anext(events)).delta
    await stack.stub.wait_until_held(rule)
    if stored:
        stack.stub.release(rule)
        await client.generate(spec)
    offset, texts = len(broken.text), dict[int, str]()

    async for event in client.stream(spec, offset=offset, attempt=broken.attempt):
        stack.stub.release(rule)
        if event.WhichOneof("event") == "delta":
            text = texts.setdefault(event.delta.attempt, "")
            assert event.delta.offset == len(text)
            texts[event.delta.attempt] = text + event.delta.text
    rest = [e.delta.text async for e in client.stream(spec, offset=offset, attempt=2)]

    digest = client.provider_calls()[1]["reply_digest"]
    assert texts.keys() == {2}
    assert hashlib.sha256(texts[2].encode()).hexdigest() == digest
    assert "".join(rest) == texts[2][offset:]


async def test_another_process_tells_the_reply_when_it_is_stored(
    stack: GatewayStack, client: GatewayClient
) -> None:
    other = await client.via(stack.gateways[1])
    rule = stack.stub.script(client.word, {"kind": "hold", "after_chunks": 6})
    first = asyncio.create_task(read_stream(client))
    await stack.stub.wait_until_held(rule, first)
    second = asyncio.create_task(read_stream(other))
    stack.stub.release(rule)

    assert (await first)[0] == (await second)[0]
    assert len(client.provider_calls()) == 1


async def test_a_listener_that_goes_away_leaves_its_call_to_be_settled(
    stack: GatewayStack, client: GatewayClient
) -> None:
    rule = stack.stub.script(client.word, {"kind": "hold", "after_chunks": 3})
    async for _ in client.stream():
        break
    stack.stub.release(rule)

    _, _, call = await read_stream(client)

    assert call.state == call_pb2.CALL_STATE_SETTLED
    assert len(client.provider_calls()) == 1


async def test_a_reply_of_three_mebibytes_is_streamed_stored_and_streamed_again(
    stack: GatewayStack, client: GatewayClient
) -> None:
    stack.stub.script(client.word, {"kind": "oversize", "bytes": 3 << 20})

    whole, deltas, _ = await read_stream(client)
    rest, _, _ = await read_stream(client, offset=2_000_000)

    assert len(whole.encode()) >= 3 << 20
    assert max(len(delta.text.encode()) for delta in deltas) <= 64 << 10
    assert rest == whole[2_000_000:]


async def test_a_refusal_ends_a_stream_with_its_reason(
    stack: GatewayStack, client: GatewayClient
) -> None:
    stack.stub.script(client.word, {"kind": "spend_limit"})

    with pytest.raises(Refused) as refused:
        await read_stream(client)

    assert refused.value.reason == "PROVIDER_LIMITED"
