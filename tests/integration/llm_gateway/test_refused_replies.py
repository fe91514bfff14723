"""Replies in which the model or the provider declines: paid once, told apart from all others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.integration.llm_gateway.test_money import recounted, reported, used
from tests.support.catalog import new_name, set_override
from tests.support.gateway_client import by_id, struct

from nagaya.llm_gateway.v1 import call_pb2

if TYPE_CHECKING:
    from tests.support.gateway_client import GatewayClient
    from tests.support.gateway_stack import GatewayStack


SCHEMA = struct({"type": "object", "properties": {"title": {"type": "string"}}})
# What each wire format says of a reply that the provider refuses.
WORDS = {
    "claude-sonnet-5-5": "refusal",
    "gpt-6.2-sol": "content_filter",
    "gemini-3.8-flash": "SAFETY",
}
DECLINED = {"kind": "reply", "text": "I would rather not.", "finish": "filtered"}
ALWAYS = {"times": 100}


@pytest.mark.parametrize("model_id", WORDS)
async def test_a_refused_reply_is_paid_once_however_often_it_is_asked_for(
    stack: GatewayStack, client: GatewayClient, model_id: str
) -> None:
    stack.stub.script(client.word, DECLINED, **ALWAYS)
    spec = client.spec(model=by_id(model_id), output_schema=SCHEMA)
    other = await client.via(stack.gateways[1])

    refusals = [await through.generate_refused(spec) for through in (client, other, client)]
    call = await client.get_call()

    (sent,) = client.provider_calls()
    assert sent["finish_reason"] == WORDS[model_id]
    assert {str(refused) for refused in refusals} == {str(refusals[0])}
    assert {refused.reason for refused in refusals} == {"REPLY_REFUSED"}
    assert {refused.code.name for refused in refusals} == {"INVALID_ARGUMENT"}
    assert "declined" in str(refusals[0])
    assert "Take a model of another provider" in str(refusals[0])
    assert "rather not" not in str(refusals[0])
    assert {refused.metadata["attempt"] for refused in refusals} == {"1"}
    _, cost = await recounted(stack, model_id, sent)
    assert call.state == call_pb2.CALL_STATE_FAILED
    assert (reported(call.usage), call.cost_micro_usd) == (used(sent), cost)
    assert cost > 0
    assert [attempt.estimated for attempt in call.attempts] == [False]


async def test_the_same_request_goes_on_once_its_step_has_another_model(
    stack: GatewayStack, client: GatewayClient
) -> None:
    step = new_name("step")
    await set_override(client, step, "claude", "standard")
    stack.stub.script(client.word, DECLINED, times=1)
    spec = client.spec(step=step, output_schema=SCHEMA)
    assert [(await client.generate_refused(spec)).reason for _ in range(2)] == ["REPLY_REFUSED"] * 2

    await set_override(client, step, "gemini", "standard")
    done = await client.generate(spec)

    assert [attempt.state for attempt in done.call.attempts] == [
        call_pb2.CALL_STATE_FAILED,
        call_pb2.CALL_STATE_SETTLED,
    ]
    assert [sent["provider"] for sent in client.provider_calls()] == ["claude", "gemini"]
    assert done.call.cost_micro_usd == sum(a.cost_micro_usd for a in done.call.attempts)
    assert done.call.attempts[0].cost_micro_usd > 0


async def test_another_request_goes_under_the_next_call_number(
    stack: GatewayStack, client: GatewayClient
) -> None:
    stack.stub.script(client.word, DECLINED, times=1)
    await client.generate_refused(client.spec(output_schema=SCHEMA))

    reused = await client.generate_refused(client.spec("Write about herons.", output_schema=SCHEMA))
    done = await client.generate(client.spec("Write about herons.", call=2, output_schema=SCHEMA))

    assert reused.reason == "CALL_KEY_REUSED"
    assert done.call.state == call_pb2.CALL_STATE_SETTLED
    assert len(client.provider_calls()) == 2


@pytest.mark.parametrize("model_id", WORDS)
async def test_without_a_schema_a_refusal_is_a_reply_that_says_so(
    stack: GatewayStack, client: GatewayClient, model_id: str
) -> None:
    stack.stub.script(client.word, DECLINED, times=1)

    done = await client.generate(client.spec(model=by_id(model_id)))
    again = await client.generate(client.spec(model=by_id(model_id)))

    assert done.call.state == call_pb2.CALL_STATE_SETTLED
    assert done.call.finish_reason == call_pb2.FINISH_REASON_REFUSAL
    assert done.call.summary.endswith("ended by refusal")
    assert (await client.reply(done.call))["finish_reason"] == "refusal"
    assert again.replayed
    assert len(client.provider_calls()) == 1


async def test_a_reply_that_fits_though_it_ended_by_refusal_is_settled(
    stack: GatewayStack, client: GatewayClient
) -> None:
    stack.stub.script(client.word, DECLINED | {"text": '{"title": "Cranes"}'})

    done = await client.generate(client.spec(output_schema=SCHEMA))

    assert done.call.finish_reason == call_pb2.FINISH_REASON_REFUSAL
    assert (await client.reply(done.call))["content"] == {"title": "Cranes"}


async def test_what_fits_no_schema_and_was_not_refused_may_still_be_tried_again(
    stack: GatewayStack, client: GatewayClient
) -> None:
    stack.stub.script(client.word, {"kind": "reply", "text": "No JSON."}, times=1)
    spec = client.spec(output_schema=SCHEMA)

    refused = await client.generate_refused(spec)
    done = await client.generate(spec)

    assert refused.reason == "REPLY_INVALID"
    assert done.call.state == call_pb2.CALL_STATE_SETTLED
    assert len(client.provider_calls()) == 2
