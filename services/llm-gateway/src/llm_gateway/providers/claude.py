"""Claude Messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jsonvalues import JsonObject, parse_object
from llm_gateway.domain.usage import FinishReason, ReportedUsage
from llm_gateway.providers.usage import ClaudeUsage
from llm_gateway.providers.wire_format import (
    Ended,
    Fault,
    HttpRequest,
    ProviderFault,
    child,
    text,
    unfinished,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_gateway.domain.requests import Prompt

_VERSION = "2026-10-21"

_FINISH = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "refusal": FinishReason.REFUSAL,
}
_FAULTS = {
    "overloaded_error": Fault.UNAVAILABLE,
    "api_error": Fault.UNAVAILABLE,
    "timeout_error": Fault.UNAVAILABLE,
    "rate_limit_error": Fault.LIMITED,
    "billing_error": Fault.EXHAUSTED,
}


class ClaudeMessages:
    home = "https://api.anthropic.com"

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
        if prompt.system:
            body["system"] = prompt.system
        if prompt.temperature is not None:
            body["temperature"] = prompt.temperature
        if prompt.output_schema is not None:
            schema = prompt.output_schema.definition
            body["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
        return HttpRequest("/v1/messages", body, {"anthropic-version": _VERSION})

    def authorization(self, key: str) -> Mapping[str, str]:
        return {"authorization": f"Bearer {key}"}

    def reader(self) -> ClaudeReader:
        return ClaudeReader()

    def refusal(self, status: int, body: JsonObject) -> ProviderFault | None:
        error = child(body, "error")
        spent = text(child(error, "details"), "error_code") == "enforced_spend_limit_reached"
        if spent or text(error, "type") == "billing_error":
            return ProviderFault(Fault.EXHAUSTED, "the spend limit is reached", status=status)
        return None


class ClaudeReader:
    def __init__(self) -> None:
        self.request_id = ""
        self.done = False
        self._reports = ClaudeUsage()
        self._reason = ""

    @property
    def usage(self) -> ReportedUsage:
        return self._reports.reported()

    def read(self, data: str) -> str:
        fields = parse_object(data)
        match text(fields, "type"):
            case "content_block_delta":
                return _visible(child(fields, "delta"), "text_delta")
            case "message_start":
                message = child(fields, "message")
                self.request_id = text(message, "id")
                self._reports.add(child(message, "usage"))
            case "content_block_start":
                return _visible(child(fields, "content_block"), "text")
            case "message_delta":
                self._reason = text(child(fields, "delta"), "stop_reason") or self._reason
                self._reports.add(child(fields, "usage"))
            case "message_stop":
                self.done = True
            case "error":
                raise _told_fault(text(child(fields, "error"), "type"))
            case _:
                pass
        return ""

    def end(self) -> Ended:
        if not self.done or not self._reason:
            raise unfinished()
        return Ended(_FINISH.get(self._reason, FinishReason.UNKNOWN), self.usage)


def _visible(block: JsonObject, kind: str) -> str:
    return text(block, "text") if text(block, "type") == kind else ""


def _told_fault(kind: str) -> ProviderFault:
    fault = _FAULTS.get(kind, Fault.REFUSED)
    return ProviderFault(fault, f"the provider broke the reply off: {fault}", status=200)
