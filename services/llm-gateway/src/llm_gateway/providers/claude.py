"""The wire format Claude Messages."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from llm_gateway.domain.models import WireFormat
from llm_gateway.domain.provider_errors import ProviderError
from llm_gateway.domain.reply_ends import EndSignals
from llm_gateway.providers.schemas import for_claude, prompt_and_schema
from llm_gateway.providers.usage import ClaudeUsage
from llm_gateway.providers.wire_format import (
    HttpRequest,
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

_VERSION = "2026-10-21"
_REASONING = frozenset({"thinking", "redacted_thinking"})
_TOOL = "tool_use"  # also `server_tool_use`, `mcp_tool_use`


class ClaudeMessages:
    """Makes requests to Claude's Messages API."""

    home = "https://api.anthropic.com"
    wire_format = WireFormat.CLAUDE_MESSAGES
    endpoint = re.compile(r"/messages$")
    versioned = True

    def request(self, prompt: Prompt) -> HttpRequest:
        body: JsonObject = {
            "model": prompt.model_name,
            "max_tokens": prompt.max_output_tokens,
            "messages": [{"role": turn.role, "content": turn.text} for turn in prompt.turns],
            "stream": True,
            # Without them the organisation's and workspace's own settings apply, which cost more.
            "service_tier": "standard_only",
            "inference_geo": "global",
        }
        system, schema = prompt_and_schema(prompt, for_claude)
        if system:
            body["system"] = system
        if prompt.temperature is not None:
            body["temperature"] = prompt.temperature
        if schema is not None:
            body["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
        return HttpRequest("/v1/messages", body, {"anthropic-version": _VERSION})

    def authorization(self, key: str, host: str) -> Mapping[str, str]:
        return {"authorization": f"Bearer {key}"}

    def reader(self) -> ClaudeReader:
        return ClaudeReader()


class ClaudeReader:
    """Reads a stream of Messages events; as for the SDK, the terminal event is optional."""

    def __init__(self) -> None:
        self.request_id = ""
        self.done = False
        self.end = EndSignals()
        self.provider_error = ProviderError()
        self._reports = ClaudeUsage()
        self._has_text = False

    @property
    def usage(self) -> ReportedUsage:
        return self._reports.reported()

    def read(self, fields: JsonObject) -> str:
        match string(fields, "type"):
            case "message_start":
                return self._message(child(fields, "message"))
            case "content_block_start":
                return self._block(child(fields, "content_block"))
            case "content_block_delta":
                return self._block(child(fields, "delta"))
            case "message_delta":
                self._ended(child(fields, "delta"))
                self._reports.add(child(fields, "usage"))
            case "message_stop":
                self.done = self.end.received
            case "message":  # the whole reply
                return self._message(fields)
            case _:
                pass
        return ""

    def _message(self, message: JsonObject) -> str:
        if self._has_text and not self.end.received:
            raise second_reply()
        if self.end.received:
            self.done = True
            return ""
        self.request_id = string(message, "id") or self.request_id
        self._reports.add(child(message, "usage"))
        added = "".join([self._block(block) for block in children(message, "content")])
        self._ended(message)
        return added

    def _block(self, block: JsonObject) -> str:
        kind = string(block, "type")
        if self.end.received:
            return ""
        self.end.tool = self.end.tool or kind.endswith(_TOOL)
        self.end.reasoning = self.end.reasoning or kind.removesuffix("_delta") in _REASONING
        added = text(block, "text") if kind in ("text", "text_delta") else ""
        self._has_text = self._has_text or bool(added)
        return added

    def _ended(self, delta: JsonObject) -> None:
        self.end.word = string(delta, "stop_reason") or self.end.word
        if details := child(delta, "stop_details"):
            category, why = string(details, "category"), string(details, "explanation")
            self.provider_error = ProviderError.of(self.end.word, category, "", why)
