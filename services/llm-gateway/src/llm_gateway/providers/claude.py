"""Claude Messages."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from llm_gateway.domain.ends import ToldEnd
from llm_gateway.domain.models import WireFormat
from llm_gateway.domain.provider_errors import ProviderError
from llm_gateway.providers.schemas import asked_for, for_claude
from llm_gateway.providers.usage import ClaudeUsage
from llm_gateway.providers.wire_format import HttpRequest, child, children, second_reply, text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jsonvalues import JsonObject
    from llm_gateway.domain.requests import Prompt
    from llm_gateway.domain.usage import ReportedUsage

_VERSION = "2026-10-21"
_THOUGHTS = frozenset({"thinking", "redacted_thinking"})
_TOOL = "tool_use"  # also `server_tool_use`, `mcp_tool_use`


class ClaudeMessages:
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
            # Left out, the organisation's and the workspace's own settings would count, which cost
            # more.
            "service_tier": "standard_only",
            "inference_geo": "global",
        }
        system, schema = asked_for(prompt, for_claude)
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
    """The terminal event is not insisted on, as the provider's own SDK does not."""

    def __init__(self) -> None:
        self.request_id = ""
        self.done = False
        self.end = ToldEnd()
        self.told = ProviderError()
        self._reports = ClaudeUsage()
        self._said = False

    @property
    def usage(self) -> ReportedUsage:
        return self._reports.reported()

    def read(self, fields: JsonObject) -> str:
        match text(fields, "type"):
            case "message_start":
                return self._begun(child(fields, "message"))
            case "content_block_start":
                return self._block(child(fields, "content_block"))
            case "content_block_delta":
                return self._block(child(fields, "delta"))
            case "message_delta":
                self._ended(child(fields, "delta"))
                self._reports.add(child(fields, "usage"))
            case "message_stop":
                self.done = self.end.told
            case "message":  # the whole reply
                return self._begun(fields)
            case _:
                pass
        return ""

    def _begun(self, message: JsonObject) -> str:
        if self._said and not self.end.told:
            raise second_reply()
        if self.end.told:
            self.done = True
            return ""
        self.request_id = text(message, "id") or self.request_id
        self._reports.add(child(message, "usage"))
        said = "".join([self._block(block) for block in children(message, "content")])
        self._ended(message)
        return said

    def _block(self, block: JsonObject) -> str:
        kind = text(block, "type")
        if self.end.told:
            return ""
        self.end.tool = self.end.tool or kind.endswith(_TOOL)
        self.end.thought = self.end.thought or kind.removesuffix("_delta") in _THOUGHTS
        said = text(block, "text") if kind in ("text", "text_delta") else ""
        self._said = self._said or bool(said)
        return said

    def _ended(self, delta: JsonObject) -> None:
        self.end.word = text(delta, "stop_reason") or self.end.word
        if details := child(delta, "stop_details"):
            category, why = text(details, "category"), text(details, "explanation")
            self.told = ProviderError.of(self.end.word, category, "", why)
