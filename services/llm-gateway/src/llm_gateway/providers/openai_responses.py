"""OpenAI Responses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jsonvalues import JsonObject, parse_object
from llm_gateway.domain.usage import FinishReason, ReportedUsage
from llm_gateway.providers.openai_errors import HOME, bearer, fault_of, refusal
from llm_gateway.providers.usage import ResponsesUsage
from llm_gateway.providers.wire_format import (
    Ended,
    HttpRequest,
    child,
    text,
    unfinished,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_gateway.domain.requests import Prompt
    from llm_gateway.providers.wire_format import ProviderFault

_LEAST_OUTPUT = 16  # OpenAI refuses less
_INCOMPLETE = {
    "max_output_tokens": FinishReason.LENGTH,
    "max_messages": FinishReason.LENGTH,
    "content_filter": FinishReason.REFUSAL,
}


class OpenAiResponses:
    home = HOME

    def request(self, prompt: Prompt) -> HttpRequest:
        body: JsonObject = {
            "model": prompt.model_name,
            "input": [{"role": turn.role, "content": turn.text} for turn in prompt.turns],
            "max_output_tokens": max(prompt.max_output_tokens, _LEAST_OUTPUT),
            "store": False,
            "stream": True,
            "service_tier": "default",  # left out, the project's own setting would count
        }
        if prompt.system:
            body["instructions"] = prompt.system
        if prompt.temperature is not None:
            body["temperature"] = prompt.temperature
        if prompt.output_schema is not None:
            body["text"] = {
                "format": {
                    "type": "json_schema",
                    "name": "reply",
                    "schema": prompt.output_schema.definition,
                    "strict": prompt.output_schema.strict,
                }
            }
        return HttpRequest("/v1/responses", body, {})

    def authorization(self, key: str) -> Mapping[str, str]:
        return bearer(key)

    def reader(self) -> ResponsesReader:
        return ResponsesReader()

    def refusal(self, status: int, body: JsonObject) -> ProviderFault | None:
        return refusal(status, body)


class ResponsesReader:
    def __init__(self) -> None:
        self.request_id = ""
        self.done = False
        self._finish = FinishReason.UNKNOWN
        self._declined = False
        self._reports = ResponsesUsage()

    @property
    def usage(self) -> ReportedUsage:
        return self._reports.reported()

    def read(self, data: str) -> str:
        fields = parse_object(data)
        kind = text(fields, "type")
        response = child(fields, "response")
        self.request_id = text(response, "id") or self.request_id
        self._reports.add(child(response, "usage"))
        self._reports.served("service_tier", response.get("service_tier"))
        match kind:
            case "response.output_text.delta":
                return text(fields, "delta")
            case "response.refusal.delta":
                self._declined = True
                return text(fields, "delta")
            case "response.completed" | "response.incomplete":
                self._finished(response)
            case "response.failed":
                raise fault_of(text(child(response, "error"), "code"))
            case "error":
                raise fault_of(text(fields, "code") or text(child(fields, "error"), "code"))
            case _:
                pass
        return ""

    def end(self) -> Ended:
        if not self.done:
            raise unfinished()
        finish = FinishReason.REFUSAL if self._declined else self._finish
        return Ended(finish, self.usage)

    def _finished(self, response: JsonObject) -> None:
        self.done = True
        if text(response, "status") == "completed":
            self._finish = FinishReason.STOP
        else:
            reason = text(child(response, "incomplete_details"), "reason")
            self._finish = _INCOMPLETE.get(reason, FinishReason.UNKNOWN)
