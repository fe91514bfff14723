"""What a call costs where its provider tells its usage badly, by the tenant's ledger."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.catalog import SCRIPTED
from tests.support.gateway_client import by_id
from tests.support.provider_streams import event
from tests.support.scripted_provider import Reply

from nagaya.llm_gateway.v1 import call_pb2

if TYPE_CHECKING:
    from tests.support.gateway_client import GatewayClient
    from tests.support.scripted_provider import ScriptedProvider

Json = dict[str, Any]
TEXT = "x" * 400
ESTIMATED = 100  # tokens that 400 bytes are estimated at
FORMS = tuple(SCRIPTED)


def stream(form: str, *usages: Json, **more: Any) -> Reply:  # noqa: ANN401 - fields of the end
    """A whole reply; usages are told at the beginning (where the format can) and at the end."""
    first, last = (usages[0] if len(usages) > 1 else None), (usages[-1] if usages else None)
    match form:
        case "claude":
            message = {"id": "m", "role": "assistant", "content": [], "usage": first}
            block = {"type": "text", "text": ""}
            delta = {"type": "text_delta", "text": TEXT}
            events: list[Json] = [
                {"type": "message_start", "message": message},
                {"type": "content_block_start", "index": 0, "content_block": block},
                {"type": "content_block_delta", "index": 0, "delta": delta},
                {"type": "content_block_stop", "index": 0},
                {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": last},
                {"type": "message_stop"},
            ]
            return Reply([event(each, each["type"]) for each in events])
        case "responses":
            begun = {"id": "r", "status": "in_progress", "usage": first}
            done = {"id": "r", "status": "completed", "usage": last, **more}
            events = [
                {"type": "response.created", "response": begun},
                {"type": "response.output_text.delta", "delta": TEXT},
                {"type": "response.completed", "response": done},
            ]
            return Reply([event(each) for each in events])
        case "chat":
            choice: Json = {"index": 0, "delta": {"content": TEXT}, "finish_reason": None}
            end: Json = {"index": 0, "delta": {}, "finish_reason": "stop"}
            events = [
                {"id": "c", "choices": [choice], "usage": first, **more},
                {"id": "c", "choices": [end]},
                {"id": "c", "choices": [], "usage": last},
            ]
            return Reply([*(event(each) for each in events), event("[DONE]")])
        case _:
            part: Json = {"content": {"role": "model", "parts": [{"text": TEXT}]}}
            events = [
                {"candidates": [part], "usageMetadata": first},
                {"candidates": [{"finishReason": "STOP"}], "usageMetadata": last, **more},
            ]
            return Reply([event(each) for each in events])


def counters(form: str, prompt: object, reply: object) -> Json:
    names = {
        "claude": ("input_tokens", "output_tokens"),
        "responses": ("input_tokens", "output_tokens"),
        "chat": ("prompt_tokens", "completion_tokens"),
        "gemini": ("promptTokenCount", "candidatesTokenCount"),
    }
    return dict(zip(names[form], (prompt, reply), strict=True))


async def settled(
    scripted: ScriptedProvider, client: GatewayClient, form: str, *replies: Reply
) -> call_pb2.CallAttempt:
    """Ask; return the attempt that was settled, after comparing the answer with the ledger."""
    scripted.script(client.word, *replies)
    await client.generate(client.spec(model=by_id(SCRIPTED[form])))
    call = await client.get_call()
    assert call.state == call_pb2.CALL_STATE_SETTLED
    assert len(scripted.requests(client.word)) == len(call.attempts)
    row = await client.database.fetchrow(
        """
        SELECT a.cost_micro_usd, a.estimated, a.note FROM llm_call_attempts AS a
          JOIN llm_calls AS c ON c.id = a.call_id
         WHERE c.run_id = $1::text::uuid ORDER BY a.attempt DESC LIMIT 1
        """,
        client.run_id,
    )
    attempt = call.attempts[-1]
    assert row is not None
    assert tuple(row) == (attempt.cost_micro_usd, attempt.estimated, attempt.note)
    return attempt


@pytest.mark.parametrize("form", FORMS)
async def test_a_reply_without_usage_is_settled_with_an_estimate(
    scripted: ScriptedProvider, client: GatewayClient, form: str
) -> None:
    attempt = await settled(scripted, client, form, stream(form))

    assert attempt.estimated
    assert attempt.note == "the provider did not tell the tokens of the prompt and the reply"
    assert attempt.usage.output_tokens == ESTIMATED
    assert attempt.usage.input_tokens > 0
    assert attempt.cost_micro_usd > 1500
    file = await client.reply(await client.get_call())
    assert file["usage_note"] == attempt.note


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("later", [0, None, 0.0, "", -1], ids=repr)
async def test_a_later_zero_or_nothing_wipes_nothing_out(
    scripted: ScriptedProvider, client: GatewayClient, form: str, later: object
) -> None:
    usages = counters(form, 25, 15), counters(form, later, later)
    attempt = await settled(scripted, client, form, stream(form, *usages))

    assert (attempt.usage.input_tokens, attempt.usage.output_tokens) == (25, 15)
    assert (attempt.cost_micro_usd, attempt.estimated) == (300, False)


async def test_claude_keeps_what_its_first_event_reported_of_the_cache(
    scripted: ScriptedProvider, client: GatewayClient
) -> None:
    form = "claude"
    begun = counters(form, 25, 1) | {"cache_read_input_tokens": 100}
    ended = counters(form, 0, 15) | {"cache_read_input_tokens": 0}
    attempt = await settled(scripted, client, form, stream(form, begun, ended))

    usage = attempt.usage
    assert (usage.input_tokens, usage.cache_read_tokens, usage.output_tokens) == (25, 100, 15)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("written", [float, str], ids=["float", "string"])
async def test_numbers_may_be_floats_and_strings(
    scripted: ScriptedProvider, client: GatewayClient, form: str, written: type
) -> None:
    usage = counters(form, written(25), written(15))
    attempt = await settled(scripted, client, form, stream(form, usage))

    assert (attempt.usage.input_tokens, attempt.usage.output_tokens) == (25, 15)
    assert not attempt.estimated


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("huge", [10**30, 2**63, 2**53 + 1, "1" + 40 * "0"], ids=str)
async def test_a_number_that_no_ledger_holds_is_marked_and_estimated(
    scripted: ScriptedProvider, client: GatewayClient, form: str, huge: object
) -> None:
    attempt = await settled(scripted, client, form, stream(form, counters(form, huge, 15)))

    assert attempt.estimated
    assert "a number of tokens that cannot be" in attempt.note
    assert attempt.usage.output_tokens == 15
    assert 0 < attempt.usage.input_tokens < 1000


@pytest.mark.parametrize("form", FORMS)
async def test_half_a_usage_is_used_and_the_other_half_estimated(
    scripted: ScriptedProvider, client: GatewayClient, form: str
) -> None:
    attempt = await settled(scripted, client, form, stream(form, counters(form, 25, None)))

    assert (attempt.usage.input_tokens, attempt.usage.output_tokens) == (25, ESTIMATED)
    assert attempt.estimated
    assert attempt.note == "the provider did not tell the tokens of the reply"


@pytest.mark.parametrize(
    ("form", "reported", "word"),
    [
        ("responses", {"service_tier": "priority"}, "service_tier priority"),
        ("chat", {"service_tier": "flex"}, "service_tier flex"),
        ("claude", {"usage": {"service_tier": "priority"}}, "service_tier priority"),
        ("claude", {"usage": {"inference_geo": "us"}}, "inference_geo us"),
        ("gemini", {"usage": {"serviceTier": "PRIORITY"}}, "serviceTier PRIORITY"),
    ],
)
async def test_another_tier_or_region_than_is_priced_is_noted_as_a_doubt(
    scripted: ScriptedProvider, client: GatewayClient, form: str, reported: Json, word: str
) -> None:
    usage = counters(form, 10, 5) | reported.pop("usage", {})
    attempt = await settled(scripted, client, form, stream(form, usage, **reported))

    assert attempt.estimated
    assert attempt.note == f"served with {word}, and priced as the standard one"
    assert attempt.cost_micro_usd == 105


@pytest.mark.parametrize("form", FORMS)
async def test_the_price_is_asked_for_that_the_list_holds(
    scripted: ScriptedProvider, client: GatewayClient, form: str
) -> None:
    await settled(scripted, client, form, stream(form, counters(form, 10, 5)))

    (sent,) = scripted.requests(client.word)
    body = json.loads(sent.body)
    expected = {
        "claude": {"service_tier": "standard_only", "inference_geo": "global"},
        "responses": {"service_tier": "default"},
        "chat": {"service_tier": "default"},
        "gemini": {"serviceTier": "standard"},
    }
    assert expected[form].items() <= body.items()
