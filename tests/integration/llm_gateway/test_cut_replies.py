"""Replies that a limit on output tokens cut off, where a schema was asked for: paid once, final."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.integration.llm_gateway.test_money import recounted, reported, used
from tests.support.catalog import model, new_name, price, set_model, set_price
from tests.support.gateway_client import by_id, struct

from nagaya.llm_gateway.v1 import call_pb2, call_service_pb2
from servicekit.times import now

if TYPE_CHECKING:
    from tests.support.gateway_client import GatewayClient
    from tests.support.gateway_stack import GatewayStack


SCHEMA = struct({"type": "object", "properties": {"title": {"type": "string"}}})
# What each wire format says of a reply that its limit ended.
WORDS = {
    "claude-sonnet-5-5": "max_tokens",
    "gpt-6.2-sol": "max_output_tokens",
    "gemini-3.8-flash": "MAX_TOKENS",
}
# What a step that asks for 100 tokens may use, with the headroom of its model for reasoning.
ALLOWED = {
    "claude-sonnet-5-5": 100 + 16_384,
    "gpt-6.2-sol": 100 + 8_192,
    "gemini-3.8-flash": 100 + 8_192,
}
# 25,000 tokens, more than any of these: the stub cuts by the limit.
LONG = {"kind": "reply", "text": '{"title": "' + "cranes and herons " * 5_600 + '"}'}
ENDED = {"kind": "reply", "text": '{"title": "Cra', "finish": "length"}
ALWAYS = {"times": 100}


@pytest.mark.parametrize("model_id", WORDS)
async def test_a_reply_that_its_limit_cut_off_is_paid_once_however_often_it_is_asked_for(
    stack: GatewayStack, client: GatewayClient, model_id: str
) -> None:
    stack.stub.script(client.word, LONG, **ALWAYS)
    spec = client.spec(model=by_id(model_id), output_schema=SCHEMA, max_output_tokens=100)
    other = await client.via(stack.gateways[1])

    refusals = [await through.generate_refused(spec) for through in (client, other, client)]
    call = await client.get_call()

    (sent,) = client.provider_calls()
    assert sent["finish_reason"] == WORDS[model_id]
    assert {str(refused) for refused in refusals} == {str(refusals[0])}
    assert {refused.reason for refused in refusals} == {"REPLY_CUT"}
    assert {refused.code.name for refused in refusals} == {"INVALID_ARGUMENT"}
    assert "cut off after" in str(refusals[0])
    assert "max_output_tokens is 100" in str(refusals[0])
    limits = {refused.metadata["limit_tokens"] for refused in refusals}
    assert limits == {str(ALLOWED[model_id])}
    _, cost = await recounted(stack, model_id, sent)
    assert call.state == call_pb2.CALL_STATE_FAILED
    assert (reported(call.usage), call.cost_micro_usd) == (used(sent), cost)
    assert [attempt.estimated for attempt in call.attempts] == [False]
    listed = await client.list_calls(
        call_service_pb2.ListCallsRequest(
            tenant_id="acme", run_id=client.run_id, state=call_pb2.CALL_STATE_FAILED
        )
    )
    assert list(listed.calls) == [call]


@pytest.mark.parametrize("model_id", WORDS)
async def test_reasoning_that_left_nothing_for_the_reply_is_named(
    stack: GatewayStack, client: GatewayClient, model_id: str
) -> None:
    allowed = ALLOWED[model_id]
    stack.stub.script(client.word, ENDED | {"reasoning_tokens": allowed - 92}, **ALWAYS)
    spec = client.spec(model=by_id(model_id), output_schema=SCHEMA, max_output_tokens=100)

    refused = await client.generate_refused(spec)

    assert refused.reason == "REPLY_CUT"
    words = f"reasoning used {allowed - 92:,} of the {allowed:,} that were allowed"
    assert words in str(refused)
    assert len(client.provider_calls()) == 1


async def test_a_model_that_may_say_no_more_is_named(
    stack: GatewayStack, client: GatewayClient
) -> None:
    stack.stub.script(client.word, ENDED)

    refused = await client.generate_refused(client.spec(output_schema=SCHEMA))

    assert "the model may say no more than" in str(refused)


async def test_a_larger_limit_is_another_request_and_goes_under_the_next_call_number(
    stack: GatewayStack, client: GatewayClient
) -> None:
    stack.stub.script(client.word, ENDED, times=1)
    await client.generate_refused(client.spec(output_schema=SCHEMA, max_output_tokens=100))
    more: dict[str, Any] = {"output_schema": SCHEMA, "max_output_tokens": 1_000}

    reused = await client.generate_refused(client.spec(**more))
    done = await client.generate(client.spec(call=2, **more))

    assert reused.reason == "CALL_KEY_REUSED"
    assert done.call.state == call_pb2.CALL_STATE_SETTLED
    assert len(client.provider_calls()) == 2


async def test_the_same_request_goes_on_once_its_model_may_say_more(
    stack: GatewayStack, client: GatewayClient
) -> None:
    short = model(new_name("m"), "claude", new_name("c"))
    short.capabilities.json_schema = True
    await set_model(client, short)
    await set_price(client, price(short.model_id, now(), 1_000_000))
    stack.stub.script(client.word, ENDED, times=1)
    spec = client.spec(output_schema=SCHEMA, model=by_id(short.model_id))
    assert [(await client.generate_refused(spec)).reason for _ in range(2)] == ["REPLY_CUT"] * 2

    short.capabilities.max_output_tokens = 2_000
    await set_model(client, short)
    done = await client.generate(spec)

    assert [attempt.state for attempt in done.call.attempts] == [
        call_pb2.CALL_STATE_FAILED,
        call_pb2.CALL_STATE_SETTLED,
    ]
    assert len(client.provider_calls()) == 2


async def test_a_reply_that_is_whole_when_its_limit_ends_it_is_settled(
    stack: GatewayStack, client: GatewayClient
) -> None:
    stack.stub.script(client.word, ENDED | {"text": '{"title": "Cranes"}'})

    done = await client.generate(client.spec(output_schema=SCHEMA))

    assert done.call.finish_reason == call_pb2.FINISH_REASON_LENGTH
    assert (await client.reply(done.call))["content"] == {"title": "Cranes"}
