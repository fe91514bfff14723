"""OpenAI Responses."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from llm_gateway.domain.ends import ToldEnd
from llm_gateway.domain.models import WireFormat
from llm_gateway.domain.provider_errors import ProviderError
from llm_gateway.domain.requests import SchemaAs
from llm_gateway.providers import openai_keys
from llm_gateway.providers.schemas import asked_for, for_openai, is_strict
from llm_gateway.providers.usage import ResponsesUsage
from llm_gateway.providers.wire_format import (
    HttpRequest,
    Said,
    child,
    children,
    second_reply,
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
    home = openai_keys.HOME
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
            "service_tier": "default",  # left out, the project's own setting would count
        }
        system, schema = asked_for(prompt, for_openai)
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
                    "strict": prompt.schema_as is SchemaAs.RULE and is_strict(schema),
                }
            }
        return HttpRequest("/v1/responses", body, {})

    def authorization(self, key: str, host: str) -> Mapping[str, str]:
        return openai_keys.authorization(key, host)

    def reader(self) -> ResponsesReader:
        return ResponsesReader()


class ResponsesReader:
    """Text comes in deltas, again whole when a part is done, and again in the terminal event."""

    def __init__(self) -> None:
        self.request_id = ""
        self.done = False
        self.end = ToldEnd()
        self.told = ProviderError()
        self._reports = ResponsesUsage()
        self._said = Said()
        self._parts: dict[tuple[str, str], str] = {}

    @property
    def usage(self) -> ReportedUsage:
        return self._reports.reported()

    def read(self, fields: JsonObject) -> str:
        kind, response = text(fields, "type"), child(fields, "response")
        if text(fields, "object") == "response":  # the whole reply
            kind, response = f"response.{text(fields, 'status')}", fields
        self._reports.add(child(response, "usage"))
        self._reports.served("service_tier", response.get("service_tier"))
        return self._said.add(self._of(kind, fields, response))

    def _of(self, kind: str, fields: JsonObject, response: JsonObject) -> str:
        match kind:
            case "response.created":
                return self._begun(text(response, "id"))
            case "response.output_text.delta":
                return text(fields, "delta")
            case "response.output_text.done":
                return self._part(fields, text(fields, "text"))
            case "response.refusal.delta":
                self.end.refused = True
                return text(fields, "delta")
            case "response.refusal.done":
                self.end.refused = True
                return self._part(fields, text(fields, "refusal"))
            case "response.output_item.added" | "response.output_item.done":
                self._item(child(fields, "item"))
            case "response.failed":
                self.end.word = "failed"
            case _ if kind in _TERMINAL:
                return self._finished(response, kind.removeprefix("response."))
            case _:
                self.end.thought = self.end.thought or "reasoning" in kind
        return ""

    def _begun(self, request_id: str) -> str:
        if self._said and request_id != self.request_id:
            raise second_reply()
        self.request_id = request_id or self.request_id
        return ""

    def _part(self, fields: JsonObject, whole: str) -> str:
        """Keep a part that is told whole; it is said at the end, if its deltas did not come."""
        place = (str(fields.get("output_index")), str(fields.get("content_index")))
        self._parts[place] = whole
        return ""

    def _item(self, item: JsonObject) -> str:
        """Return what an item of the output says; note what it does beside talking."""
        kind, said = text(item, "type"), ""
        self.end.tool = self.end.tool or kind not in _NO_TOOLS
        self.end.thought = self.end.thought or kind == "reasoning"
        for part in children(item, "content") if kind == "message" else ():
            declined = text(part, "refusal")
            self.end.refused = self.end.refused or bool(declined)
            said += text(part, "text") + declined
        return said

    def _finished(self, response: JsonObject, status: str) -> str:
        self.done = True
        self.request_id = text(response, "id") or self.request_id
        reason = text(child(response, "incomplete_details"), "reason")
        status = text(response, "status") or status
        self.end.word = f"{status}/{reason}" if status == "incomplete" and reason else status
        whole = "".join(map(self._item, children(response, "output")))
        return self._said.rest_of(whole or "".join(self._parts.values()))
