"""OpenAI Chat Completions, which many other servers speak too."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from llm_gateway.domain.ends import ToldEnd
from llm_gateway.domain.models import WireFormat
from llm_gateway.domain.provider_errors import ProviderError
from llm_gateway.domain.requests import SchemaAs
from llm_gateway.providers import openai_keys
from llm_gateway.providers.schemas import asked_for, for_openai, is_strict
from llm_gateway.providers.usage import ChatUsage
from llm_gateway.providers.wire_format import (
    HttpRequest,
    Said,
    child,
    first_of,
    second_reply,
    text,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jsonvalues import Json, JsonObject
    from llm_gateway.domain.requests import Prompt
    from llm_gateway.domain.usage import ReportedUsage

_REASONING = ("reasoning", "reasoning_content", "thinking")  # OpenRouter and vLLM, DeepSeek
_TOOLS = ("tool_calls", "function_call")
_UPSTREAM = "native_finish_reason"
_TEXTS = ("text", "output_text")


class OpenAiChat:
    home = openai_keys.HOME
    wire_format = WireFormat.OPENAI_CHAT
    endpoint = re.compile(r"/chat/completions$", re.IGNORECASE)
    versioned = False

    def request(self, prompt: Prompt) -> HttpRequest:
        told, schema = asked_for(prompt, for_openai)
        system: list[JsonObject] = [{"role": "system", "content": told}]
        turns: list[JsonObject] = [{"role": t.role, "content": t.text} for t in prompt.turns]
        body: JsonObject = {
            "model": prompt.model_name,
            "messages": [*(system if told else ()), *turns],
            "max_completion_tokens": prompt.max_output_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
            "service_tier": "default",  # left out, the project's own setting would count
        }
        if prompt.temperature is not None:
            body["temperature"] = prompt.temperature
        if schema is not None:
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {
                    "name": "reply",
                    "schema": schema,
                    "strict": prompt.schema_as is SchemaAs.RULE and is_strict(schema),
                },
            }
        return HttpRequest("/v1/chat/completions", body, {})

    def authorization(self, key: str, host: str) -> Mapping[str, str]:
        return openai_keys.authorization(key, host)

    def reader(self) -> ChatReader:
        return ChatReader()


class ChatReader:
    """The mark of the end is not insisted on: many servers leave it out."""

    def __init__(self) -> None:
        self.request_id = ""
        self.done = False
        self.end = ToldEnd()
        self.told = ProviderError()
        self._reports = ChatUsage()
        self._said = Said()
        self._deltas = False
        self._messages = 0
        self._cumulative = False

    @property
    def usage(self) -> ReportedUsage:
        return self._reports.reported()

    def read(self, fields: JsonObject) -> str:
        choice, request_id = first_of(fields, "choices"), text(fields, "id")
        self._reports.served("service_tier", fields.get("service_tier"))
        for holder in (fields, child(fields, "x_groq"), choice):  # Groq's, Moonshot's
            self._reports.add(child(holder, "usage"))
        if self._said and request_id and request_id != self.request_id:
            if self.end.told:
                return ""
            if text(child(choice, "delta"), "role"):
                raise second_reply()
        self.request_id = self.request_id or request_id
        said = self._of(child(choice, "delta")) or text(choice, "text")
        self._deltas = self._deltas or bool(said)
        self._said.add(said)
        self._ended(choice)
        message = self._of(child(choice, "message"))
        return said + self._said.add(self._message(message) if message else "")

    def _message(self, message: str) -> str:
        """Return what a `message` adds, which some send in place of `delta`, or after all of them.

        It may hold the next piece, or all so far once more: the second one shows which.
        """
        if self._deltas:
            return self._said.rest_of(message)
        self._messages += 1
        longer = len(message) - self._said.length
        if self._messages == 2:
            self._cumulative = longer > 0 and message.startswith(self._said.text)
        again = self._messages > 2 and longer == 0 and message == self._said.text
        return self._said.rest_of(message) if self._cumulative or again else message

    def _ended(self, choice: JsonObject) -> None:
        self.end.word = text(choice, "finish_reason") or self.end.word
        behind = text(child(choice, "provider_specific_fields"), _UPSTREAM)
        self.end.upstream = text(choice, _UPSTREAM) or behind or self.end.upstream

    def _of(self, message: JsonObject) -> str:
        self.end.tool = self.end.tool or any(message.get(name) for name in _TOOLS)
        self.end.thought = self.end.thought or any(message.get(name) for name in _REASONING)
        declined = text(message, "refusal")
        self.end.refused = self.end.refused or bool(declined)
        return self._content(message.get("content")) + declined

    def _content(self, content: Json) -> str:
        """Return what a content says: a text, or a list of parts of which some are text."""
        if isinstance(content, str):
            return content
        said = ""
        for part in content if isinstance(content, list) else []:
            if not isinstance(part, dict):
                continue
            if text(part, "type") in _TEXTS:
                said += text(part, "text")
            elif text(part, "type") == "refusal":
                self.end.refused = True
                said += text(part, "refusal")
            else:
                self.end.thought = True
        return said
