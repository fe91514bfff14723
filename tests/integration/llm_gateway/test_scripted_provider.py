"""The scripted provider plays what a test writes down, and counts what it was asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.fixtures.provider_streams import CHAT, STREAMS
from tests.fixtures.scripted_provider import Reply
from tests.integration.llm_gateway.asking import by_id
from tests.integration.llm_gateway.house import SCRIPTED

from nagaya.llm_gateway.v1 import call_pb2

if TYPE_CHECKING:
    from tests.fixtures.scripted_provider import ScriptedProvider
    from tests.integration.llm_gateway.asking import Asking


@pytest.mark.parametrize("form", STREAMS)
async def test_a_whole_reply_of_each_wire_format_is_settled(
    scripted: ScriptedProvider, asking: Asking, form: str
) -> None:
    scripted.script(asking.word, Reply(STREAMS[form].whole("hi there")))

    done = await asking.ask(asking.spec(model=by_id(SCRIPTED[form])))

    assert (await asking.files.reply(done.call))["content"] == "hi there"
    assert (done.call.usage.input_tokens, done.call.usage.output_tokens) == (10, 5)
    assert done.call.cost_micro_usd == 105
    (sent,) = scripted.requests(asking.word)
    assert asking.word in sent.body.decode()


async def test_each_request_gets_the_next_reply(scripted: ScriptedProvider, asking: Asking) -> None:
    failed = Reply.of_json({}, "500 Internal Server Error")
    scripted.script(asking.word, failed, Reply(CHAT.whole("hi there")))

    done = await asking.ask(asking.spec(model=by_id(SCRIPTED["chat"])))

    states = [attempt.state for attempt in done.call.attempts]
    assert states == [call_pb2.CALL_STATE_FAILED, call_pb2.CALL_STATE_SETTLED]
    assert len(scripted.requests(asking.word)) == 2
