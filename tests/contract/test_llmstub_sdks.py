"""The providers' own SDKs accept what the stub sends, streamed or not, and read its errors."""

# Overloads lose their types when arguments come from a dict, and google-genai's are partial.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anthropic
import openai
import pytest
from google.genai import Client
from google.genai import errors as gemini_errors
from google.genai import types as gemini_types

from llmstub import Latency, LlmStub, Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from google.genai.client import AsyncClient

PROMPT = "Write about rain gardens in small cities."
CLAUDE: dict[str, Any] = {
    "model": "claude-sonnet-5-5",
    "max_tokens": 2000,
    "messages": [{"role": "user", "content": PROMPT}],
}
CHAT: dict[str, Any] = {
    "model": "gpt-6.2-sol",
    "messages": [{"role": "user", "content": PROMPT}],
}
RESPONSE: dict[str, Any] = {"model": "gpt-6.2-sol", "input": PROMPT}
GEMINI: dict[str, Any] = {"model": "gemini-3.8-flash", "contents": PROMPT}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "title": {"type": "string"},
        "points": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["title", "points"],
    "additionalProperties": False,
}


# google-genai inherits from aiohttp's session, which aiohttp discourages
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession")


@pytest.fixture
async def stub() -> AsyncIterator[LlmStub]:
    async with LlmStub(Settings(latency=Latency(0, 0, 0))) as stub:
        yield stub


@pytest.fixture
async def claude(stub: LlmStub) -> AsyncIterator[anthropic.AsyncAnthropic]:
    url = f"{stub.url}/claude"
    async with anthropic.AsyncAnthropic(api_key="k", base_url=url, max_retries=0) as client:
        yield client


@pytest.fixture
async def gpt(stub: LlmStub) -> AsyncIterator[openai.AsyncOpenAI]:
    url = f"{stub.url}/openai/v1"
    async with openai.AsyncOpenAI(api_key="k", base_url=url, max_retries=0) as client:
        yield client


@pytest.fixture
async def gemini(stub: LlmStub) -> AsyncIterator[AsyncClient]:
    options = gemini_types.HttpOptions(
        base_url=f"{stub.url}/gemini",
        retry_options=gemini_types.HttpRetryOptions(attempts=1),
    )
    async with Client(api_key="k", http_options=options).aio as client:
        yield client


async def test_claude_messages(claude: anthropic.AsyncAnthropic, stub: LlmStub) -> None:
    whole = await claude.messages.create(**CLAUDE, thinking={"type": "adaptive"})
    async with claude.messages.stream(**CLAUDE, thinking={"type": "adaptive"}) as stream:
        text = "".join([piece async for piece in stream.text_stream])
        streamed = await stream.get_final_message()

    assert [block.type for block in streamed.content] == ["thinking", "text"]
    assert whole.content[1].text == text  # pyright: ignore[reportAttributeAccessIssue] - a text block
    assert streamed.usage.output_tokens == whole.usage.output_tokens
    assert streamed.usage.input_tokens == whole.usage.input_tokens
    assert streamed.stop_reason == whole.stop_reason == "end_turn"
    assert len(stub.calls(lambda call: call.outcome == "ok")) == 2


async def test_claude_schema_and_count(claude: anthropic.AsyncAnthropic) -> None:
    form: Any = {"format": {"type": "json_schema", "schema": SCHEMA}}
    message = await claude.messages.create(**CLAUDE, output_config=form)
    counted = await claude.messages.count_tokens(model=CLAUDE["model"], messages=CLAUDE["messages"])

    reply = json.loads(message.content[0].text)  # pyright: ignore[reportAttributeAccessIssue] - a text block
    assert set(reply) == {"title", "points"}
    assert counted.input_tokens == message.usage.input_tokens


async def test_claude_errors(claude: anthropic.AsyncAnthropic, stub: LlmStub) -> None:
    stub.script([{"times": 1, "action": {"kind": "spend_limit"}}])
    with pytest.raises(anthropic.EnforcedSpendLimitReachedError):
        await claude.messages.create(**CLAUDE)
    stub.script([{"name": "busy", "times": 1, "action": {"kind": "overloaded"}}])
    with pytest.raises(anthropic.OverloadedError):
        await claude.messages.create(**CLAUDE)
    stub.script([{"name": "broken", "action": {"kind": "error_event"}}])
    with pytest.raises(anthropic.APIStatusError):
        async with claude.messages.stream(**CLAUDE) as stream:
            await stream.get_final_message()


async def test_openai_responses(gpt: openai.AsyncOpenAI) -> None:
    reasoning: Any = {"effort": "low", "summary": "auto"}
    whole = await gpt.responses.create(**RESPONSE, reasoning=reasoning)
    async with gpt.responses.stream(**RESPONSE, reasoning=reasoning) as stream:
        streamed = await stream.get_final_response()

    assert streamed.output_text == whole.output_text
    assert streamed.usage == whole.usage
    assert streamed.status == whole.status == "completed"
    assert [item.type for item in streamed.output] == ["reasoning", "message"]


async def test_openai_responses_schema(gpt: openai.AsyncOpenAI) -> None:
    form: Any = {"type": "json_schema", "name": "reply", "schema": SCHEMA, "strict": True}
    reply = await gpt.responses.create(**RESPONSE, text={"format": form})

    assert set(json.loads(reply.output_text)) == {"title", "points"}


async def test_openai_chat(gpt: openai.AsyncOpenAI) -> None:
    whole = await gpt.chat.completions.create(**CHAT)
    async with gpt.chat.completions.stream(
        **CHAT, stream_options={"include_usage": True}
    ) as stream:
        streamed = await stream.get_final_completion()

    assert streamed.choices[0].message.content == whole.choices[0].message.content
    assert streamed.choices[0].finish_reason == whole.choices[0].finish_reason == "stop"
    assert streamed.usage == whole.usage


async def test_openai_errors(gpt: openai.AsyncOpenAI, stub: LlmStub) -> None:
    stub.script([{"times": 1, "action": {"kind": "spend_limit"}}])
    with pytest.raises(openai.RateLimitError) as spent:
        await gpt.responses.create(**RESPONSE)
    assert spent.value.code == "insufficient_quota"
    stub.script([{"name": "failing", "action": {"kind": "failed"}}])
    assert (await gpt.responses.create(**RESPONSE)).status == "failed"
    with pytest.raises(openai.APIError):
        async with gpt.chat.completions.stream(**CHAT) as stream:
            await stream.get_final_completion()


async def test_gemini(gemini: AsyncClient) -> None:
    whole = await gemini.models.generate_content(**GEMINI)
    chunks = [chunk async for chunk in await gemini.models.generate_content_stream(**GEMINI)]

    assert "".join(chunk.text or "" for chunk in chunks) == whole.text
    used, said = chunks[-1].usage_metadata, whole.usage_metadata
    assert used is not None
    assert said is not None
    assert used.total_token_count == said.total_token_count
    assert used.thoughts_token_count == said.thoughts_token_count == 32
    candidates = chunks[-1].candidates or []
    assert candidates[0].finish_reason is gemini_types.FinishReason.STOP


async def test_gemini_schema_and_count(gemini: AsyncClient) -> None:
    config: Any = {"response_mime_type": "application/json", "response_json_schema": SCHEMA}
    reply = await gemini.models.generate_content(**GEMINI, config=config)
    counted = await gemini.models.count_tokens(**GEMINI)

    assert set(json.loads(reply.text or "")) == {"title", "points"}
    assert reply.usage_metadata is not None
    assert counted.total_tokens == reply.usage_metadata.prompt_token_count


async def test_gemini_errors(gemini: AsyncClient, stub: LlmStub) -> None:
    stub.script([{"times": 1, "action": {"kind": "overloaded"}}])
    with pytest.raises(gemini_errors.ServerError) as busy:
        await gemini.models.generate_content(**GEMINI)
    assert (busy.value.code, busy.value.status) == (503, "UNAVAILABLE")
    stub.script([{"name": "broken", "action": {"kind": "error_event"}}])
    stream = await gemini.models.generate_content_stream(**GEMINI)
    with pytest.raises(gemini_errors.ServerError):
        [chunk async for chunk in stream]
