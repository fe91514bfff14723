"""What each provider's stream may hold beyond the usual. The usual is in tests/contract."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from llm_gateway.providers.claude import ClaudeReader
from llm_gateway.providers.faults import LONGEST_WAIT_SECONDS, fault_of, retry_after
from llm_gateway.providers.gemini import GeminiReader
from llm_gateway.providers.openai_chat import ChatReader
from llm_gateway.providers.openai_responses import ResponsesReader
from llm_gateway.providers.wire_format import FailureKind

if TYPE_CHECKING:
    from llm_gateway.providers.wire_format import ReplyReader

Json = dict[str, Any]


def read(reader: ReplyReader, *events: Json) -> str:
    return "".join(map(reader.read, events))


def test_claude_says_text_and_not_thoughts() -> None:
    text = read(
        ClaudeReader(),
        {"type": "content_block_start", "content_block": {"type": "thinking", "text": "no"}},
        {"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": "no"}},
        {"type": "content_block_start", "content_block": {"type": "text", "text": "Be"}},
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "gun"}},
        {"type": "content_block_delta", "delta": {"type": "citations_delta", "citation": {}}},
        {"type": "ping"},
    )

    assert text == "Begun"


def test_a_declined_response_is_a_refusal_with_its_words() -> None:
    reader = ResponsesReader()
    text = read(
        reader,
        {"type": "response.refusal.delta", "delta": "I would rather not."},
        {"type": "response.completed", "response": {"id": "r", "status": "completed"}},
    )

    assert text == "I would rather not."
    assert reader.end.refused


def test_a_declined_chat_reply_is_a_refusal_though_it_ends_like_any_other() -> None:
    reader = ChatReader()
    text = read(
        reader,
        {"choices": [{"delta": {"content": None, "refusal": "I would "}}]},
        {"choices": [{"delta": {"refusal": "rather not."}, "finish_reason": "stop"}]},
        {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}},
    )

    assert text == "I would rather not."
    assert reader.end.refused


def test_gemini_says_text_and_not_thoughts() -> None:
    reader = GeminiReader()
    parts = [{"text": "hm", "thought": True}, {"text": "Yes"}, {"inlineData": {}}]
    text = read(
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

    assert text == "Yes"


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
    assert read(reader, event) == ""


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
        ({"retry-after": "nan"}, None),
        ({"retry-after": "1e20"}, LONGEST_WAIT_SECONDS),
        ({"retry-after-ms": "1e308"}, LONGEST_WAIT_SECONDS),
        ({"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT"}, LONGEST_WAIT_SECONDS),
        ({"retry-after": "Fri, 31 Dec 9999 23:59:59 -2300"}, LONGEST_WAIT_SECONDS),
        ({"retry-after": "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"}, None),
        ({"retry-after": "Mon, 01 Jan 2026 00:00:00 +999999"}, None),
        ({"retry-after": "\udcff"}, None),
    ],
)
def test_a_wait_is_read_as_seconds(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


def test_gemini_tells_the_wait_in_its_body() -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "37s"}]
    body = {"error": {"status": "RESOURCE_EXHAUSTED", "details": details}}

    fault = fault_of(429, {}, json.dumps([body]).encode())

    assert (fault.kind, fault.retry_after) == (FailureKind.LIMITED, 37)
