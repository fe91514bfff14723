"""Replies in which the model or the provider declines: paid once, told apart from all others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.integration.llm_gateway.asking import by_id, struct
from tests.integration.llm_gateway.cataloguing import new_name, set_override
from tests.integration.llm_gateway.test_money import recounted, told, used

from nagaya.llm_gateway.v1 import call_pb2

if TYPE_CHECKING:
    from tests.integration.llm_gateway.asking import Asking
    from tests.integration.llm_gateway.house import House


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
    house: House, asking: Asking, model_id: str
) -> None:
    house.stub.script(asking.word, DECLINED, **ALWAYS)
    spec = asking.spec(model=by_id(model_id), output_schema=SCHEMA)
    other = await asking.through(house.gateways[1])

    refusals = [await through.refusal(spec) for through in (asking, other, asking)]
    call = await asking.call()

    (sent,) = asking.sent()
    assert sent["finish_reason"] == WORDS[model_id]
    assert {str(refused) for refused in refusals} == {str(refusals[0])}
    assert {refused.reason for refused in refusals} == {"REPLY_REFUSED"}
    assert {refused.code.name for refused in refusals} == {"INVALID_ARGUMENT"}
    assert "declined" in str(refusals[0])
    assert "Take a model of another provider" in str(refusals[0])
    assert "rather not" not in str(refusals[0])
    assert {refused.metadata["attempt"] for refused in refusals} == {"1"}
    _, cost = await recounted(house, model_id, sent)
    assert call.state == call_pb2.CALL_STATE_FAILED
    assert (told(call.usage), call.cost_micro_usd) == (used(sent), cost)
    assert cost > 0
    assert [attempt.estimated for attempt in call.attempts] == [False]


async def test_the_same_request_goes_on_once_its_step_has_another_model(
    house: House, asking: Asking
) -> None:
    step = new_name("step")
    await set_override(asking, step, "claude", "standard")
    house.stub.script(asking.word, DECLINED, times=1)
    spec = asking.spec(step=step, output_schema=SCHEMA)
    assert [(await asking.refusal(spec)).reason for _ in range(2)] == ["REPLY_REFUSED"] * 2

    await set_override(asking, step, "gemini", "standard")
    done = await asking.ask(spec)

    assert [attempt.state for attempt in done.call.attempts] == [
        call_pb2.CALL_STATE_FAILED,
        call_pb2.CALL_STATE_SETTLED,
    ]
    assert [sent["provider"] for sent in asking.sent()] == ["claude", "gemini"]
    assert done.call.cost_micro_usd == sum(a.cost_micro_usd for a in done.call.attempts)
    assert done.call.attempts[0].cost_micro_usd > 0


async def test_another_request_goes_under_the_next_call_number(
    house: House, asking: Asking
) -> None:
    house.stub.script(asking.word, DECLINED, times=1)
    await asking.refusal(asking.spec(output_schema=SCHEMA))

    reused = await asking.refusal(asking.spec("Write about herons.", output_schema=SCHEMA))
    done = await asking.ask(asking.spec("Write about herons.", call=2, output_schema=SCHEMA))

    assert reused.reason == "CALL_KEY_REUSED"
    assert done.call.state == call_pb2.CALL_STATE_SETTLED
    assert len(asking.sent()) == 2


@pytest.mark.parametrize("model_id", WORDS)
async def test_without_a_schema_a_refusal_is_a_reply_that_says_so(
    house: House, asking: Asking, model_id: str
) -> None:
    house.stub.script(asking.word, DECLINED, times=1)

    done = await asking.ask(asking.spec(model=by_id(model_id)))
    again = await asking.ask(asking.spec(model=by_id(model_id)))

    assert done.call.state == call_pb2.CALL_STATE_SETTLED
    assert done.call.finish_reason == call_pb2.FINISH_REASON_REFUSAL
    assert done.call.summary.endswith("ended by refusal")
    assert (await asking.files.reply(done.call))["finish_reason"] == "refusal"
    assert again.replayed
    assert len(asking.sent()) == 1


async def test_a_reply_that_fits_though_it_ended_by_refusal_is_settled(
    house: House, asking: Asking
) -> None:
    house.stub.script(asking.word, DECLINED | {"text": '{"title": "Cranes"}'})

    done = await asking.ask(asking.spec(output_schema=SCHEMA))

    assert done.call.finish_reason == call_pb2.FINISH_REASON_REFUSAL
    assert (await asking.files.reply(done.call))["content"] == {"title": "Cranes"}


async def test_what_fits_no_schema_and_was_not_refused_may_still_be_tried_again(
    house: House, asking: Asking
) -> None:
    house.stub.script(asking.word, {"kind": "reply", "text": "No JSON."}, times=1)
    spec = asking.spec(output_schema=SCHEMA)

    refused = await asking.refusal(spec)
    done = await asking.ask(spec)

    assert refused.reason == "REPLY_INVALID"
    assert done.call.state == call_pb2.CALL_STATE_SETTLED
    assert len(asking.sent()) == 2
