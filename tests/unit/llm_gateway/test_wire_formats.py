"""What each provider's stream may hold beyond the usual. The usual is in tests/contract."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from llm_gateway.domain.usage import FinishReason, ReportedUsage, Usage
from llm_gateway.providers.claude import ClaudeReader
from llm_gateway.providers.gemini import GeminiGenerateContent, GeminiReader
from llm_gateway.providers.openai_chat import ChatReader
from llm_gateway.providers.openai_responses import ResponsesReader
from llm_gateway.providers.refusals import fault_of, retry_after
from llm_gateway.providers.wire_format import Fault, ProviderFault

if TYPE_CHECKING:
    from llm_gateway.providers.wire_format import ReplyReader

Json = dict[str, Any]


def hear(reader: ReplyReader, *events: Json | str) -> str:
    data = (event if isinstance(event, str) else json.dumps(event) for event in events)
    return "".join(map(reader.read, data))


def test_claude_says_text_and_not_thoughts() -> None:
    said = hear(
        ClaudeReader(),
        {"type": "content_block_start", "content_block": {"type": "thinking", "text": "no"}},
        {"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": "no"}},
        {"type": "content_block_start", "content_block": {"type": "text", "text": "Be"}},
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "gun"}},
        {"type": "content_block_delta", "delta": {"type": "citations_delta", "citation": {}}},
        {"type": "ping"},
    )

    assert said == "Begun"


@pytest.mark.parametrize("reader", [ClaudeReader(), ResponsesReader(), ChatReader()])
def test_a_stream_that_stops_short_is_no_reply(reader: ReplyReader) -> None:
    with pytest.raises(ProviderFault) as fault:
        reader.end()

    assert fault.value.fault is Fault.MALFORMED


def test_claude_without_its_last_event_is_no_reply() -> None:
    reader = ClaudeReader()
    delta = {"stop_reason": "end_turn"}
    hear(reader, {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 3}})

    with pytest.raises(ProviderFault):
        reader.end()


def test_a_declined_response_is_a_refusal_with_its_words() -> None:
    reader = ResponsesReader()
    said = hear(
        reader,
        {"type": "response.refusal.delta", "delta": "I would rather not."},
        {"type": "response.completed", "response": {"id": "r", "status": "completed"}},
    )

    assert said == "I would rather not."
    assert reader.end().finish_reason is FinishReason.REFUSAL


def test_a_declined_chat_reply_is_a_refusal_though_it_ends_like_any_other() -> None:
    reader = ChatReader()
    said = hear(
        reader,
        {"choices": [{"delta": {"content": None, "refusal": "I would "}}]},
        {"choices": [{"delta": {"refusal": "rather not."}, "finish_reason": "stop"}]},
        {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}},
    )

    assert said == "I would rather not."
    assert reader.end().finish_reason is FinishReason.REFUSAL


def test_claude_that_stops_in_the_middle_refuses() -> None:
    reader = ClaudeReader()
    delta = {"stop_reason": "refusal"}
    said = hear(
        reader,
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": '{"title'}},
        {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 3}},
        {"type": "message_stop"},
    )

    assert said == '{"title'
    assert reader.end().finish_reason is FinishReason.REFUSAL


def test_an_incomplete_response_tells_why() -> None:
    reader = ResponsesReader()
    details = {"incomplete_details": {"reason": "max_output_tokens"}, "status": "incomplete"}
    hear(reader, {"type": "response.incomplete", "response": details})

    assert reader.end().finish_reason is FinishReason.LENGTH


def test_a_chat_server_may_leave_out_the_end_mark() -> None:
    reader = ChatReader()
    said = hear(
        reader,
        {"id": "c", "choices": [{"delta": {"content": "Hello"}, "finish_reason": "stop"}]},
        {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}},
    )

    assert said == "Hello"
    assert reader.end().usage.usage == Usage(3, 0, 0, 2, 0)


def test_a_chat_reply_without_usage_is_a_reply() -> None:
    reader = ChatReader()
    hear(reader, {"choices": [{"delta": {"content": "x"}, "finish_reason": "stop"}]}, "[DONE]")

    assert reader.end().usage == ReportedUsage()


def test_gemini_says_text_and_not_thoughts() -> None:
    reader = GeminiReader()
    parts = [{"text": "hm", "thought": True}, {"text": "Yes"}, {"inlineData": {}}]
    said = hear(
        reader,
        {
            "responseId": "g",
            "candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}],
            "usageMetadata": {
                "promptTokenCount": 9,
                "cachedContentTokenCount": 4,
                "candidatesTokenCount": 2,
                "thoughtsTokenCount": 5,
            },
        },
    )

    assert said == "Yes"
    assert reader.end().usage.usage == Usage(5, 4, 0, 2, 5)


def test_gemini_that_blocks_the_prompt_refuses() -> None:
    reader = GeminiReader()
    hear(reader, {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {}})

    assert reader.end().finish_reason is FinishReason.REFUSAL


@pytest.mark.parametrize(
    "reason", ["SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII"]
)
def test_gemini_that_blocks_the_reply_refuses(reason: str) -> None:
    reader = GeminiReader()
    hear(reader, {"candidates": [{"finishReason": reason}]})

    assert reader.end().finish_reason is FinishReason.REFUSAL


def test_an_unknown_reason_to_end_is_not_invented() -> None:
    reader = GeminiReader()
    hear(reader, {"candidates": [{"finishReason": "A_NEW_REASON"}]})

    assert reader.end().finish_reason is FinishReason.UNKNOWN


@pytest.mark.parametrize(
    "reader", [ClaudeReader(), ResponsesReader(), ChatReader(), GeminiReader()]
)
@pytest.mark.parametrize(
    "event",
    [
        {},
        {"type": 5},
        {"type": "message_start", "message": 3},
        {"type": "message_delta", "usage": "x"},
        {"type": "content_block_delta", "delta": None},
        {"choices": [3]},
        {"choices": {}},
        {"candidates": [{"content": {"parts": [None, 3]}}], "usageMetadata": []},
        {"usage": {"prompt_tokens": "many", "completion_tokens": -5}},
    ],
)
def test_what_is_malformed_is_passed_over(reader: ReplyReader, event: Json) -> None:
    assert hear(reader, event) == ""


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "Mon, 23 Nov 2015 18:00:00 GMT"}, 0),
    ],
)
def test_a_wait_is_read_as_seconds(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


def test_gemini_tells_the_wait_in_its_body() -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "37s"}]
    body = {"error": {"status": "RESOURCE_EXHAUSTED", "details": details}}

    fault = fault_of(GeminiGenerateContent(), 429, {}, json.dumps([body]).encode())

    assert (fault.fault, fault.retry_after) == (Fault.LIMITED, 37)
