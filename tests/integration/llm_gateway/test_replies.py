"""The reply to a settled call: with its call, and through GetReply."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import TYPE_CHECKING

import grpc
import pytest
from tests.support.gateway_client import Refused

if TYPE_CHECKING:
    from tests.support.gateway_client import GatewayClient
    from tests.support.gateway_stack import GatewayStack


async def test_a_reply_comes_with_its_call_when_it_is_asked_for(client: GatewayClient) -> None:
    first = await client.generate(include_reply=True)
    again = await client.generate(include_reply=True)
    without = await client.generate()

    assert first.call == again.call == without.call
    assert (first.replayed, again.replayed, without.replayed) == (False, True, True)
    assert hashlib.sha256(first.reply).hexdigest() == first.call.output_digest
    assert first.reply == again.reply == await client.reply_bytes(first.call.key)
    assert not without.reply
    assert json.loads(first.reply)["usage"]["output_tokens"] == first.call.usage.output_tokens
    assert len(client.provider_calls()) == 1


async def test_whoever_joins_a_call_gets_its_reply_if_they_ask_for_it(
    stack: GatewayStack, client: GatewayClient
) -> None:
    rule = stack.stub.script(client.word, {"kind": "hold"}, times=1)
    asked = [asyncio.create_task(client.generate(include_reply=n > 0)) for n in range(3)]
    await stack.stub.wait_until_held(rule, *asked)
    stack.stub.release(rule)

    without, *others = await asyncio.gather(*asked)

    assert not without.reply
    assert [each.reply for each in others] == [await client.reply_bytes(without.call.key)] * 2
    assert len(client.provider_calls()) == 1


async def test_a_call_without_a_reply_says_so(stack: GatewayStack, client: GatewayClient) -> None:
    rule = stack.stub.script(client.word, {"kind": "hold"}, times=1)
    asked = asyncio.create_task(client.generate())
    await stack.stub.wait_until_held(rule, asked)

    with pytest.raises(Refused) as early:
        await client.reply_bytes(client.key())
    with pytest.raises(Refused) as absent:
        await client.reply_bytes(client.key(2))
    stack.stub.release(rule)
    await asked

    assert (early.value.code, early.value.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "CALL_NOT_SETTLED",
    )
    assert early.value.metadata == {"state": "dispatched"}
    assert absent.value.reason == "CALL_NOT_FOUND"


async def test_a_person_reads_replies_by_the_permission_to_read_files(
    client: GatewayClient,
) -> None:
    done = await client.generate(include_reply=True)
    reader = await client.as_person("artifacts.read")
    clerk = await client.as_person("calls.read")

    body = await reader.reply_bytes(done.call.key)
    with pytest.raises(Refused) as refused:
        await clerk.reply_bytes(done.call.key)

    assert body == done.reply
    assert refused.value.code is grpc.StatusCode.PERMISSION_DENIED
