"""The scripted provider plays what a test writes down, and counts what it was asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.catalog import SCRIPTED
from tests.support.gateway_client import by_id
from tests.support.provider_streams import CHAT, STREAMS
from tests.support.scripted_provider import Reply

from nagaya.llm_gateway.v1 import call_pb2

if TYPE_CHECKING:
    from tests.support.gateway_client import GatewayClient
    from tests.support.scripted_provider import ScriptedProvider


@pytest.mark.parametrize("form", STREAMS)
async def test_a_whole_reply_of_each_wire_format_is_settled(
    scripted: ScriptedProvider, client: GatewayClient, form: str
) -> None:
    scripted.script(client.word, Reply(STREAMS[form].whole("hi there")))

    done = await client.generate(client.spec(model=by_id(SCRIPTED[form])))

    assert (await client.reply(done.call))["content"] == "hi there"
    assert (done.call.usage.input_tokens, done.call.usage.output_tokens) == (10, 5)
    assert done.call.cost_micro_usd == 105
    (sent,) = scripted.requests(client.word)
    assert client.word in sent.body.decode()


async def test_each_request_gets_the_next_reply(
    scripted: ScriptedProvider, client: GatewayClient
) -> None:
    failed = Reply.of_json({}, "500 Internal Server Error")
    scripted.script(client.word, failed, Reply(CHAT.whole("hi there")))

    done = await client.generate(client.spec(model=by_id(SCRIPTED["chat"])))

    states = [attempt.state for attempt in done.call.attempts]
    assert states == [call_pb2.CALL_STATE_FAILED, call_pb2.CALL_STATE_SETTLED]
    assert len(scripted.requests(client.word)) == 2
