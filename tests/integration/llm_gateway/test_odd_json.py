"""Structured replies and hostile values: read, or refused by name; never an internal error."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.integration.llm_gateway.reply_forms import CHAT_END, HI
from tests.support.catalog import SCRIPTED
from tests.support.gateway_client import Fields, Refused, by_id, struct
from tests.support.provider_streams import CHAT, CLAUDE, GEMINI, RESPONSES, STREAMS, event
from tests.support.scripted_provider import Reply

from nagaya.llm_gateway.v1 import call_pb2

if TYPE_CHECKING:
    from tests.support.gateway_client import GatewayClient
    from tests.support.scripted_provider import ScriptedProvider

STOP, INVALID = "FINISH_REASON_STOP", "REPLY_INVALID"
OBJECT = {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}
DEEP = 10_000
STRUCTURED: dict[str, tuple[Fields, str, str]] = {
    "prose after it": (OBJECT, '{"title": "a"}\n\nI hope this helps!', INVALID),
    "prose before it": (OBJECT, 'Here you are: {"title": "a"}', INVALID),
    "told twice": (OBJECT, '{"title": "a"}{"title": "a"}', INVALID),
    "a name twice": (OBJECT, '{"title": "a", "title": "b"}', STOP),
    "in a string": (OBJECT, json.dumps('{"title": "a"}'), INVALID),
    "a comma too many": (OBJECT, '{"title": "a",}', INVALID),
    "quotes of Python": (OBJECT, "{'title': 'a'}", INVALID),
    "nothing": (OBJECT, "null", INVALID),
    "not a number": (OBJECT, '{"title": "a", "n": NaN}', INVALID),
    "too large a number": (OBJECT, '{"title": "a", "n": 1e400}', INVALID),
    "half a character": (OBJECT, '{"title": "\\ud83d"}', INVALID),
    "a zero byte": (OBJECT, '{"title": "a\\u0000b"}', STOP),
    "a long integer": (OBJECT, '{"title": "a", "n": 9223372036854775809}', STOP),
    "thousands of digits": (OBJECT, '{"title": "a", "n": ' + "9" * 5000 + "}", INVALID),
    "deep": (OBJECT, '{"title": "a", "n": ' + "[" * DEEP + "]" * DEEP + "}", INVALID),
    "space without end": (OBJECT, '{"title": "a"}' + " \n" * 20_000, STOP),
}


async def outcome(client: GatewayClient, form: str, **more: Fields) -> str:
    spec = client.spec(model=by_id(SCRIPTED[form]), **more)
    try:
        done = await client.generate(spec)
    except Refused as refused:
        return refused.reason
    return call_pb2.FinishReason.Name(done.call.finish_reason)


@pytest.mark.parametrize("name", STRUCTURED)
async def test_a_structured_reply_is_json_that_fits_or_is_refused(
    scripted: ScriptedProvider, client: GatewayClient, name: str
) -> None:
    schema, text, expected = STRUCTURED[name]
    for number, form in enumerate(STREAMS, 1):
        scripted.script(f"{client.word}: of-{form}", Reply(STREAMS[form].whole(text)))
        spec = client.spec(f"of-{form}", model=by_id(SCRIPTED[form]), call=number,
                           output_schema=struct(schema))  # fmt: skip
        try:
            done = await client.generate(spec)
        except Refused as refused:
            outcome = refused.reason
        else:
            outcome = call_pb2.FinishReason.Name(done.call.finish_reason)
            assert text.strip() in (await client.reply_bytes(done.call.key)).decode()

        assert (form, outcome) == (form, expected)
        call = await client.get_call(number)
        assert (call.usage.output_tokens, call.attempts[0].estimated) == (5, False)
        assert len(scripted.requests(f"{client.word}: of-{form}")) == 1


LONG = "x" * 200_000
NESTED = "[" * 100_000
# Values that no provider should send: the reply or the refusal stays what it is.
HOSTILE: dict[str, tuple[str, Reply, str]] = {
    "an id without end": ("chat", Reply([e.replace("chat-1", LONG) for e in CHAT.whole(HI)]), STOP),
    "an id of another kind": (
        "chat", Reply([e.replace('"chat-1"', '{"a": 1}') for e in CHAT.whole(HI)]), STOP),
    "a zero byte in the id": (
        "claude", Reply([e.replace("msg-1", "m\\u0000\\ud800") for e in CLAUDE.whole(HI)]), STOP),
    "a zero byte in the text": ("claude", Reply(CLAUDE.whole("a\0b")), STOP),
    "an odd id in the headers": (
        "chat", Reply(CHAT.whole(HI), headers={"x-request-id": "\u00e4\u00f6" * 999}), STOP),
    "an end of many words": ("chat", Reply(CHAT.whole(HI, LONG)), "REPLY_INCOMPLETE"),
    "an end with a zero byte": ("gemini", Reply(GEMINI.whole(HI, "a\0b")), "REPLY_INCOMPLETE"),
    "a status with a zero byte": (
        "responses", Reply((RESPONSES.delta(HI), event({"type": "response.incomplete", "response": {
            "status": "incomplete", "incomplete_details": {"reason": "\0\ud800"}}}))),
        "REPLY_INCOMPLETE"),
    "an event that is nested without end": (
        "chat", Reply((f"data: {NESTED}\n\n", *CHAT.whole(HI))), INVALID),
    "a document that is nested without end": (
        "gemini", Reply((NESTED,), content_type="application/json"), INVALID),
    "an error that is nested without end": (
        "gemini", Reply((NESTED,), "400 Bad Request", "application/json"), "PROVIDER_REFUSED"),
    "errors in errors": ("chat", Reply(('{"error": ' * 900 + "1" + "}" * 900,), "400 Bad Request",
                                       "application/json"), "PROVIDER_REFUSED"),
    "an error of another kind": (
        "chat", Reply.of_json({"error": {"code": {"a": 1}, "type": [1], "param": 7,
                               "message": ["m"]}}, "400 Bad Request"), "PROVIDER_REFUSED"),
    "an error of half characters": (
        "claude", Reply.of_json({"error": {"type": "\ud800", "message": "a\0\ud83d" * 100}},
                                "400 Bad Request"), "PROVIDER_REFUSED"),
    "an error without end": (
        "chat", Reply((LONG,), "400 Bad Request", "text/plain"), "PROVIDER_REFUSED"),
    "a page of opened tags": (
        "chat", Reply(("<script>" * 9_000 + "<" * 9_000,), "502 Bad Gateway", "text/html"),
        "PROVIDER_UNAVAILABLE"),
    "lists for objects": (
        "gemini", Reply((event({"candidates": {"0": {}}, "usageMetadata": [1],
                                "promptFeedback": [], "responseId": 7}), *GEMINI.whole(HI))), STOP),
    "a field that is no number": (
        "chat", Reply([e.replace('"object"', '"logprobs": NaN, "x": -Infinity, "object"')
                       for e in CHAT.whole(HI)]), STOP),
    "fields that are no numbers, in a document": ("gemini", Reply((json.dumps(GEMINI.unstreamed(
        HI) | {"avgLogprobs": float("nan")}),), content_type="application/json"), STOP),
    "usage of every kind": ("claude", Reply([e.replace('"output_tokens": 5', json.dumps({
        "output_tokens": 5, "a": True, "b": "12", "c": -7, "d": [1], "e": {"f": {"g": None}},
        "input_tokens": 1e18})[1:-1]) for e in CLAUDE.whole(HI)]), STOP),
    "many lines in a header": (
        "chat", Reply(CHAT.whole(HI), headers={f"x-{n}": "y" for n in range(90)}), STOP),
    "a tool call of nothing": ("chat", Reply((CHAT.chunk(
        {"content": HI, "tool_calls": None, "function_call": None}), CHAT_END)), STOP),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_value_that_nobody_expects_changes_nothing_else(
    scripted: ScriptedProvider, client: GatewayClient, name: str
) -> None:
    form, reply, expected = HOSTILE[name]
    scripted.script(client.word, reply)

    assert await outcome(client, form) == expected

    call = await client.get_call()
    assert len(scripted.requests(client.word)) == len(call.attempts)
    assert call.attempts[-1].state in (call_pb2.CALL_STATE_SETTLED, call_pb2.CALL_STATE_FAILED)
