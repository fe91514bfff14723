"""The wire format OpenAI Chat Completions, which many other servers implement."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from llm_gateway.domain.models import WireFormat
from llm_gateway.domain.provider_errors import ProviderError
from llm_gateway.domain.reply_ends import EndSignals
from llm_gateway.domain.requests import SchemaMode
from llm_gateway.providers import openai_auth
from llm_gateway.providers.schemas import for_openai, is_strict, prompt_and_schema
from llm_gateway.providers.usage import ChatUsage
from llm_gateway.providers.wire_format import (
    HttpRequest,
    ReplyText,
    child,
    children,
    first_choice,
    second_reply,
    string,
    text,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jsonvalues import JsonObject
    from llm_gateway.domain.requests import Prompt
    from llm_gateway.domain.usage import ReportedUsage

_REASONING = ("reasoning", "reasoning_content", "thinking")  # OpenRouter and vLLM, DeepSeek
_TOOLS = ("tool_calls", "function_call")
_UPSTREAM = "native_finish_reason"
_TEXTS = ("text", "output_text")


class OpenAiChat:
    """Makes requests to OpenAI's Chat Completions API."""

    home = openai_auth.HOME
    wire_format = WireFormat.OPENAI_CHAT
    endpoint = re.compile(r"/chat/completions$", re.IGNORECASE)
    versioned = False

    def request(self, prompt: Prompt) -> HttpRequest:
        system, schema = prompt_and_schema(prompt, for_openai)
        first: list[JsonObject] = [{"role": "system", "content": system}]
        turns: list[JsonObject] = [{"role": t.role, "content": t.text} for t in prompt.turns]
        body: JsonObject = {
            "model": prompt.model_name,
            "messages": [*(first if system else ()), *turns],
            "max_completion_tokens": prompt.max_output_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
            "service_tier": "default",  # without it the project's own setting applies
        }
        if prompt.temperature is not None:
            body["temperature"] = prompt.temperature
        if schema is not None:
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {
                    "name": "reply",
                    "schema": schema,
                    "strict": prompt.schema_mode is SchemaMode.STRICT and is_strict(schema),
                },
            }
        return HttpRequest("/v1/chat/completions", body, {})

    def authorization(self, key: str, host: str) -> Mapping[str, str]:
        return openai_auth.authorization(key, host)

    def reader(self) -> ChatReader:
        return ChatReader()


class ChatReader:
    """Reads a stream of chunks; `[DONE]` is optional, because many servers omit it."""

    def __init__(self) -> None:
        self.request_id = ""
        self.done = False
        self.end = EndSignals()
        self.provider_error = ProviderError()
        self._reports = ChatUsage()
        self._text = ReplyText()
        self._deltas = False
        self._messages = 0
        self._cumulative = False

    @property
    def usage(self) -> ReportedUsage:
        return self._reports.reported()

    def read(self, fields: JsonObject) -> str:
        choice, request_id = first_choice(fields, "choices"), string(fields, "id")
        self._reports.add_option("service_tier", fields.get("service_tier"))
        for holder in (fields, child(fields, "x_groq"), choice):  # Groq's, Moonshot's
            self._reports.add(child(holder, "usage"))
        if self._text and request_id and request_id != self.request_id:
            if self.end.received:
                return ""
            if string(child(choice, "delta"), "role"):
                raise second_reply()
        self.request_id = self.request_id or request_id
        added = self._text_of(child(choice, "delta")) or string(choice, "text")
        self._deltas = self._deltas or bool(added)
        self._text.add(added)
        self._ended(choice)
        message = self._text_of(child(choice, "message"))
        return added + self._text.add(self._message(message) if message else "")

    def _message(self, message: str) -> str:
        """Return what a `message` adds, which some servers send instead of `delta`, or at the end.

        It may contain the next piece, or all text so far: the second one shows which.
        """
        if self._deltas:
            return self._text.rest_of(message)
        self._messages += 1
        longer = len(message) - self._text.length
        if self._messages == 2:
            self._cumulative = longer > 0 and message.startswith(self._text.text)
        again = self._messages > 2 and longer == 0 and message == self._text.text
        return self._text.rest_of(message) if self._cumulative or again else message

    def _ended(self, choice: JsonObject) -> None:
        self.end.word = string(choice, "finish_reason") or self.end.word
        behind = string(child(choice, "provider_specific_fields"), _UPSTREAM)
        self.end.upstream = string(choice, _UPSTREAM) or behind or self.end.upstream

    def _text_of(self, message: JsonObject) -> str:
        if not message:
            return ""
        self.end.tool = self.end.tool or any(message.get(name) for name in _TOOLS)
        self.end.reasoning = self.end.reasoning or any(message.get(name) for name in _REASONING)
        declined = string(message, "refusal")
        self.end.refused = self.end.refused or bool(declined)
        return self._content(message) + declined

    def _content(self, message: JsonObject) -> str:
        """Return the text of a content: a string, or a list of parts of which some are text."""
        if not isinstance(message.get("content"), list):
            return text(message, "content")
        added = ""
        for part in children(message, "content"):
            if string(part, "type") in _TEXTS:
                added += text(part, "text")
            elif string(part, "type") == "refusal":
                self.end.refused = True
                added += string(part, "refusal")
            else:
                self.end.reasoning = True
        return added
