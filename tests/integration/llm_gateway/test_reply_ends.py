"""What becomes of a reply by its finish reason: every row of the table in the docs."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from tests.support.catalog import SCRIPTED
from tests.support.gateway_client import Fields, Refused, by_id, struct
from tests.support.processes import ROOT
from tests.support.provider_streams import CHAT, CLAUDE, GEMINI, RESPONSES, STREAMS, event
from tests.support.scripted_provider import Reply

from llm_gateway.domain.models import WireFormat
from llm_gateway.domain.reply_ends import VERDICTS
from nagaya.llm_gateway.v1 import call_pb2

if TYPE_CHECKING:
    from tests.support.gateway_client import GatewayClient
    from tests.support.scripted_provider import ScriptedProvider

PAGE = ROOT / "docs" / "llm-gateway" / "replies.md"
FORMATS = {
    "Claude Messages": ("claude", WireFormat.CLAUDE_MESSAGES),
    "OpenAI Responses": ("responses", WireFormat.OPENAI_RESPONSES),
    "OpenAI Chat": ("chat", WireFormat.OPENAI_CHAT),
    "Gemini": ("gemini", WireFormat.GEMINI_GENERATE_CONTENT),
}
# What a caller gets without a schema: the finish reason of a settled call, or the refusal's reason.
OUTCOMES = {
    "complete": "FINISH_REASON_STOP",
    "cut": "FINISH_REASON_LENGTH",
    "full": "FINISH_REASON_LENGTH",
    "refused": "FINISH_REASON_REFUSAL",
    "tool": "REPLY_INCOMPLETE",
    "paused": "REPLY_INCOMPLETE",
    "unknown": "REPLY_INCOMPLETE",
    "empty": "REPLY_EMPTY",
    "broken": "REPLY_INVALID",
    "failed": "PROVIDER_UNAVAILABLE",
    "barred": "PROVIDER_REFUSED",
}
SENT_AGAIN = {"failed": 3}
SCHEMA = struct({"type": "object", "properties": {"title": {"type": "string"}}})


def rows() -> list[tuple[str, str, str]]:
    """Return (format, word, verdict) of every row of the page's table."""
    section = PAGE.read_text().partition("## Verdicts")[2].partition("\n## ")[0]
    found: list[tuple[str, str, str]] = []
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] in FORMATS:
            words = re.findall(r"`([^`]+)`", cells[1])
            found += [(cells[0], word, cells[2]) for word in words]
    return found


def test_the_table_of_the_docs_is_the_one_that_decides() -> None:
    listed: dict[WireFormat, dict[str, str]] = {}
    for name, word, verdict in rows():
        listed.setdefault(FORMATS[name][1], {})[word] = verdict

    assert listed == {
        form: {w: str(v) for w, v in table.items()} for form, table in VERDICTS.items()
    }


def ended(form: str, word: str | None) -> str:
    """Return the events that end a reply with a word."""
    if form == "responses":
        status, _, reason = (word or "in_progress").partition("/")
        details = {"reason": reason} if reason else None
        return RESPONSES.ended(status, incomplete_details=details)
    return STREAMS[form].ended(word) + {"chat": CHAT.used(), "claude": CLAUDE.done()}.get(form, "")


async def outcome(client: GatewayClient, form: str, **more: Fields) -> str:
    """Ask; return the finish reason of the settled call, or the reason of the refusal."""
    spec = client.spec(model=by_id(SCRIPTED[form]), **more)
    try:
        done = await client.generate(spec)
    except Refused as refused:
        return refused.reason
    return call_pb2.FinishReason.Name(done.call.finish_reason)


@pytest.mark.parametrize(("name", "word", "verdict"), rows())
async def test_a_reply_with_half_a_text_becomes_what_its_end_says(
    scripted: ScriptedProvider, client: GatewayClient, name: str, word: str, verdict: str
) -> None:
    form, _ = FORMATS[name]
    stream = STREAMS[form]
    scripted.script(client.word, Reply((stream.began(), stream.delta("half a"), ended(form, word))))

    assert await outcome(client, form) == OUTCOMES[verdict]

    call = await client.get_call()
    assert len(scripted.requests(client.word)) == SENT_AGAIN.get(verdict, 1)
    assert call.usage.output_tokens == 5 * len(call.attempts)
    assert call.cost_micro_usd == 105 * len(call.attempts)
    assert not any(attempt.estimated for attempt in call.attempts)


EMPTY = ("", " \n\t", "\u3000\u00a0", "\u200b\ufeff\u2060")
IN_NO_TABLE = {"claude": "a_new_reason", "chat": "a_new_reason", "gemini": "A_NEW_REASON",
               "responses": "incomplete/a_new_reason"}  # fmt: skip


@pytest.mark.parametrize("form", STREAMS)
@pytest.mark.parametrize("schema", [None, SCHEMA])
async def test_a_word_that_is_not_known_is_never_complete_and_never_asked_for_again(
    scripted: ScriptedProvider, client: GatewayClient, form: str, schema: Fields
) -> None:
    stream = STREAMS[form]
    text = '{"title": "Cranes"}'
    pieces = (stream.began(), stream.delta(text), ended(form, IN_NO_TABLE[form]))
    scripted.script(client.word, Reply(pieces))
    more = {} if schema is None else {"output_schema": schema}

    reasons = [await outcome(client, form, **more) for _ in range(2)]

    assert reasons == ["REPLY_INCOMPLETE"] * 2
    assert len(scripted.requests(client.word)) == 1
    assert IN_NO_TABLE[form] in (await client.get_call()).attempts[0].error


@pytest.mark.parametrize("form", STREAMS)
@pytest.mark.parametrize("text", EMPTY)
async def test_a_reply_that_says_nothing_is_refused_unless_it_may(
    scripted: ScriptedProvider, client: GatewayClient, form: str, text: str
) -> None:
    scripted.script(client.word, Reply(STREAMS[form].whole(text)))

    reasons = [await outcome(client, form) for _ in range(2)]
    allowed = await outcome(client, form, call=2, allow_empty=True)

    assert reasons == ["REPLY_EMPTY"] * 2
    assert allowed == "FINISH_REASON_STOP"
    assert len(scripted.requests(client.word)) == 2


def thought(form: str) -> str:
    match form:
        case "claude":
            delta = {"type": "thinking_delta", "thinking": "hm"}
            return CLAUDE.event("content_block_delta", index=0, delta=delta)
        case "responses":
            return RESPONSES.event("response.reasoning_text.delta", delta="hm")
        case "chat":
            return CHAT.chunk({"reasoning": "hm"}) + CHAT.chunk({"reasoning_content": "hm"})
        case _:
            return GEMINI.chunk([{"text": "hm", "thought": True}])


def called(form: str) -> str:
    match form:
        case "claude":
            block = {"type": "tool_use", "id": "t", "name": "search", "input": {}}
            return CLAUDE.event("content_block_start", index=1, content_block=block)
        case "responses":
            item = {"type": "function_call", "name": "search", "arguments": "{}"}
            return RESPONSES.event("response.output_item.done", item=item)
        case "chat":
            return CHAT.chunk({"tool_calls": [{"index": 0, "function": {"name": "search"}}]})
        case _:
            return GEMINI.chunk([{"functionCall": {"name": "search", "args": {}}}])


@pytest.mark.parametrize("form", STREAMS)
async def test_a_reply_only_of_thinking_says_so(
    scripted: ScriptedProvider, client: GatewayClient, form: str
) -> None:
    stream = STREAMS[form]
    end = ended(form, stream.complete)
    scripted.script(client.word, Reply((stream.began(), thought(form), end)))

    refused = await client.generate_refused(client.spec(model=by_id(SCRIPTED[form])))

    assert refused.reason == "REPLY_EMPTY"
    assert "reasoning and nothing else" in str(refused)


@pytest.mark.parametrize("form", STREAMS)
async def test_thinking_is_no_part_of_the_text(
    scripted: ScriptedProvider, client: GatewayClient, form: str
) -> None:
    stream = STREAMS[form]
    end = ended(form, stream.complete)
    scripted.script(client.word, Reply((stream.began(), thought(form), stream.delta("hi"), end)))

    done = await client.generate(client.spec(model=by_id(SCRIPTED[form])))

    assert (await client.reply(done.call))["content"] == "hi"


@pytest.mark.parametrize("form", STREAMS)
async def test_a_tool_call_that_nobody_asked_for_is_no_complete_reply_whatever_its_end_says(
    scripted: ScriptedProvider, client: GatewayClient, form: str
) -> None:
    stream = STREAMS[form]
    end = ended(form, stream.complete)
    pieces = (stream.began(), stream.delta("I will look."), called(form), end)
    scripted.script(client.word, Reply(pieces))

    assert await outcome(client, form) == "REPLY_INCOMPLETE"
    assert len(scripted.requests(client.word)) == 1


@pytest.mark.parametrize(
    ("form", "refusal"),
    [
        ("claude", CLAUDE.ended("refusal", stop_details={"category": "cyber", "explanation": "x"})),
        ("responses", RESPONSES.event("response.refusal.done", refusal="No.", output_index=0)
         + RESPONSES.ended()),
        ("responses", RESPONSES.ended(output=[{"type": "message", "content": [
            {"type": "refusal", "refusal": "No."}]}])),
        ("chat", CHAT.chunk({"refusal": "No."}) + CHAT.ended("stop")),
        ("chat", CHAT.chunk({"content": [{"type": "refusal", "refusal": "No."}]})
         + CHAT.ended("stop")),
        ("gemini", event({"promptFeedback": {"blockReason": "JAILBREAK"}})),
    ],
)  # fmt: skip
async def test_a_refusal_is_distinguished_from_a_reply(
    scripted: ScriptedProvider, client: GatewayClient, form: str, refusal: str
) -> None:
    scripted.script(client.word, Reply((STREAMS[form].began(), refusal)))

    assert await outcome(client, form) == "FINISH_REASON_REFUSAL"
    assert await outcome(client, form, call=2, output_schema=SCHEMA) == "REPLY_REFUSED"
    assert await outcome(client, form, call=2, output_schema=SCHEMA) == "REPLY_REFUSED"
    assert len(scripted.requests(client.word)) == 2


@pytest.mark.parametrize(
    ("upstream", "reason"),
    [
        ("insufficient_system_resource", "PROVIDER_UNAVAILABLE"),
        ("SAFETY", "FINISH_REASON_REFUSAL"),
        ("max_tokens", "FINISH_REASON_LENGTH"),
        ("tool_use", "REPLY_INCOMPLETE"),
        ("end_turn", "FINISH_REASON_STOP"),
        ("something_new", "FINISH_REASON_STOP"),
    ],
)
async def test_a_server_in_front_that_calls_every_end_stop_is_not_believed(
    scripted: ScriptedProvider, client: GatewayClient, upstream: str, reason: str
) -> None:
    end = CHAT.ended("stop", native_finish_reason=upstream)
    scripted.script(client.word, Reply((CHAT.delta("half a"), end, CHAT.used(), CHAT.done())))

    assert await outcome(client, "chat") == reason


async def test_a_full_context_does_not_advise_a_higher_limit(
    scripted: ScriptedProvider, client: GatewayClient
) -> None:
    end = ended("claude", "model_context_window_exceeded")
    scripted.script(client.word, Reply((CLAUDE.began(), CLAUDE.delta('{"ti'), end)))
    spec = client.spec(model=by_id(SCRIPTED["claude"]), output_schema=SCHEMA)

    refused = await client.generate_refused(spec)

    assert refused.reason == "REPLY_CUT"
    assert "context is full" in str(refused)


async def test_why_a_reply_ended_is_kept_in_the_providers_words(
    scripted: ScriptedProvider, client: GatewayClient
) -> None:
    end = GEMINI.ended("SAFETY", finishMessage="The reply was stopped by a filter.")
    scripted.script(client.word, Reply((GEMINI.delta("half"), end)))

    await client.generate(client.spec(model=by_id(SCRIPTED["gemini"])))

    error = (await client.get_call()).attempts[0].provider_error
    assert (error.code, error.message) == ("SAFETY", "The reply was stopped by a filter.")
    assert json.dumps("half") not in error.message
