"""The wire format OpenAI Responses."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from llm_gateway.domain.models import WireFormat
from llm_gateway.domain.provider_errors import ProviderError
from llm_gateway.domain.reply_ends import EndSignals
from llm_gateway.domain.requests import SchemaMode
from llm_gateway.providers import openai_auth
from llm_gateway.providers.schemas import for_openai, is_strict, prompt_and_schema
from llm_gateway.providers.usage import ResponsesUsage
from llm_gateway.providers.wire_format import (
    HttpRequest,
    ReplyText,
    child,
    children,
    second_reply,
    string,
    text,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jsonvalues import JsonObject
    from llm_gateway.domain.requests import Prompt
    from llm_gateway.domain.usage import ReportedUsage

_LEAST_OUTPUT = 16  # OpenAI refuses less
_TERMINAL = ("response.completed", "response.incomplete", "response.cancelled")
_NO_TOOLS = frozenset({"message", "reasoning", "compaction", ""})


class OpenAiResponses:
    """Makes requests to OpenAI's Responses API."""

    home = openai_auth.HOME
    wire_format = WireFormat.OPENAI_RESPONSES
    endpoint = re.compile(r"/(responses|chat/completions)$", re.IGNORECASE)
    versioned = False

    def request(self, prompt: Prompt) -> HttpRequest:
        body: JsonObject = {
            "model": prompt.model_name,
            "input": [{"role": turn.role, "content": turn.text} for turn in prompt.turns],
            "max_output_tokens": max(prompt.max_output_tokens, _LEAST_OUTPUT),
            "store": False,
            "stream": True,
            "service_tier": "default",  # without it the project's own setting applies
        }
        system, schema = prompt_and_schema(prompt, for_openai)
        if system:
            body["instructions"] = system
        if prompt.temperature is not None:
            body["temperature"] = prompt.temperature
        if schema is not None:
            body["text"] = {
                "format": {
                    "type": "json_schema",
                    "name": "reply",
                    "schema": schema,
                    "strict": prompt.schema_mode is SchemaMode.STRICT and is_strict(schema),
                }
            }
        return HttpRequest("/v1/responses", body, {})

    def authorization(self, key: str, host: str) -> Mapping[str, str]:
        return openai_auth.authorization(key, host)

    def reader(self) -> ResponsesReader:
        return ResponsesReader()


class ResponsesReader:
    """Reads a stream of events: text in deltas, whole after each part, and in the last event."""

    def __init__(self) -> None:
        self.request_id = ""
        self.done = False
        self.end = EndSignals()
        self.provider_error = ProviderError()
        self._reports = ResponsesUsage()
        self._text = ReplyText()
        self._parts: dict[tuple[str, str], str] = {}

    @property
    def usage(self) -> ReportedUsage:
        return self._reports.reported()

    def read(self, fields: JsonObject) -> str:
        kind, response = string(fields, "type"), child(fields, "response")
        if string(fields, "object") == "response":  # the whole reply
            kind, response = f"response.{string(fields, 'status')}", fields
        self._reports.add(child(response, "usage"))
        self._reports.add_option("service_tier", response.get("service_tier"))
        return self._text.add(self._text_of(kind, fields, response))

    def _text_of(self, kind: str, fields: JsonObject, response: JsonObject) -> str:
        match kind:
            case "response.created":
                return self._begun(string(response, "id"))
            case "response.output_text.delta":
                return text(fields, "delta")
            case "response.output_text.done":
                return self._part(fields, text(fields, "text"))
            case "response.refusal.delta":
                self.end.refused = True
                return text(fields, "delta")
            case "response.refusal.done":
                self.end.refused = True
                return self._part(fields, string(fields, "refusal"))
            case "response.output_item.added" | "response.output_item.done":
                self._item(child(fields, "item"))
            case "response.failed":
                self.end.word = "failed"
            case _ if kind in _TERMINAL:
                return self._finished(response, kind.removeprefix("response."))
            case _:
                self.end.reasoning = self.end.reasoning or "reasoning" in kind
        return ""

    def _begun(self, request_id: str) -> str:
        if self._text and request_id != self.request_id:
            raise second_reply()
        self.request_id = request_id or self.request_id
        return ""

    def _part(self, fields: JsonObject, whole: str) -> str:
        """Keep a part that is sent whole; it is added at the end, if its deltas did not come."""
        place = (str(fields.get("output_index")), str(fields.get("content_index")))
        self._parts[place] = whole
        return ""

    def _item(self, item: JsonObject) -> str:
        """Return the text of an output item; note tool calls, reasoning and refusals."""
        kind, added = string(item, "type"), ""
        self.end.tool = self.end.tool or kind not in _NO_TOOLS
        self.end.reasoning = self.end.reasoning or kind == "reasoning"
        for part in children(item, "content") if kind == "message" else ():
            declined = string(part, "refusal")
            self.end.refused = self.end.refused or bool(declined)
            added += text(part, "text") + declined
        return added

    def _finished(self, response: JsonObject, status: str) -> str:
        self.done = True
        self.request_id = string(response, "id") or self.request_id
        reason = string(child(response, "incomplete_details"), "reason")
        status = string(response, "status") or status
        self.end.word = f"{status}/{reason}" if status == "incomplete" and reason else status
        whole = "".join(map(self._item, children(response, "output")))
        return self._text.rest_of(whole or "".join(self._parts.values()))
