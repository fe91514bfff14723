"""The providers' SDKs, asked for what the gateway asks for."""

# Overloads lose their types when arguments come from a dict, and google-genai's are partial.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anthropic
import openai
from google.genai import Client
from google.genai import types as gemini_types

from llm_gateway.domain.models import WireFormat
from llm_gateway.domain.usage import Usage

if TYPE_CHECKING:
    from jsonvalues import JsonObject
    from llmstub import LlmStub

CLAUDE, RESPONSES, CHAT, GEMINI = (
    WireFormat.CLAUDE_MESSAGES,
    WireFormat.OPENAI_RESPONSES,
    WireFormat.OPENAI_CHAT,
    WireFormat.GEMINI_GENERATE_CONTENT,
)
PROVIDERS = {CLAUDE: "claude", RESPONSES: "openai", CHAT: "openai", GEMINI: "gemini"}
# Where each provider's SDK wants to be pointed to, and the gateway must understand the same.
BASES = {CLAUDE: "/claude", RESPONSES: "/openai/v1", CHAT: "/openai/v1", GEMINI: "/gemini"}
MODELS = {
    CLAUDE: "claude-sonnet-5-5",
    RESPONSES: "gpt-6.2-sol",
    CHAT: "gpt-6.2-sol",
    GEMINI: "gemini-3.8-flash",
}


async def ask_sdk(stub: LlmStub, form: WireFormat, body: JsonObject) -> tuple[str, Usage]:
    """Ask the provider's SDK for the same, unstreamed; return its text and its usage."""
    url = stub.url + BASES[form]
    given: dict[str, Any] = {k: v for k, v in body.items() if not k.startswith("stream")}
    if form is CLAUDE:
        return await _claude(url, given)
    if form is GEMINI:
        return await _gemini(url, given)
    async with openai.AsyncOpenAI(api_key="k", base_url=url, max_retries=0) as client:
        return await (_responses if form is RESPONSES else _chat)(client, given)


async def _claude(url: str, given: dict[str, Any]) -> tuple[str, Usage]:
    async with anthropic.AsyncAnthropic(api_key="k", base_url=url, max_retries=0) as client:
        message = await client.messages.create(**given)
    text = "".join(block.text for block in message.content if block.type == "text")
    usage = message.usage
    thought = usage.output_tokens_details.thinking_tokens if usage.output_tokens_details else 0
    return text, Usage(
        usage.input_tokens,
        usage.cache_read_input_tokens or 0,
        usage.cache_creation_input_tokens or 0,
        usage.output_tokens - thought,
        thought,
    )


async def _responses(client: openai.AsyncOpenAI, given: dict[str, Any]) -> tuple[str, Usage]:
    response = await client.responses.create(**given)
    usage = response.usage
    assert usage is not None
    read, written = usage.input_tokens_details.cached_tokens, usage.input_tokens_details
    thought = usage.output_tokens_details.reasoning_tokens
    return response.output_text, Usage(
        usage.input_tokens - read - written.cache_write_tokens,
        read,
        written.cache_write_tokens,
        usage.output_tokens - thought,
        thought,
    )


async def _chat(client: openai.AsyncOpenAI, given: dict[str, Any]) -> tuple[str, Usage]:
    completion = await client.chat.completions.create(**given)
    usage = completion.usage
    assert usage is not None
    of_prompt, of_reply = usage.prompt_tokens_details, usage.completion_tokens_details
    read = (of_prompt.cached_tokens or 0) if of_prompt else 0
    written = (of_prompt.cache_write_tokens or 0) if of_prompt else 0
    thought = (of_reply.reasoning_tokens or 0) if of_reply else 0
    return completion.choices[0].message.content or "", Usage(
        usage.prompt_tokens - read - written,
        read,
        written,
        usage.completion_tokens - thought,
        thought,
    )


async def _gemini(url: str, given: dict[str, Any]) -> tuple[str, Usage]:
    beside = {name: given[name] for name in ("systemInstruction", "serviceTier") if name in given}
    config = {**given["generationConfig"], **beside}
    options = gemini_types.HttpOptions(
        base_url=url, retry_options=gemini_types.HttpRetryOptions(attempts=1)
    )
    async with Client(api_key="k", http_options=options).aio as client:
        response = await client.models.generate_content(
            model=MODELS[GEMINI],
            contents=given["contents"],
            config=gemini_types.GenerateContentConfig.model_validate(config),
        )
    usage = response.usage_metadata
    assert usage is not None
    read = usage.cached_content_token_count or 0
    return response.text or "", Usage(
        (usage.prompt_token_count or 0) - read,
        read,
        0,
        usage.candidates_token_count or 0,
        usage.thoughts_token_count or 0,
    )
