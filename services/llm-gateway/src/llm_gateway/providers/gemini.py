"""Gemini generateContent."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from jsonvalues import JsonObject, parse_object
from llm_gateway.domain.requests import Role
from llm_gateway.domain.usage import FinishReason, ReportedUsage
from llm_gateway.providers.usage import GeminiUsage
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

    from jsonvalues import Json
    from llm_gateway.domain.requests import Prompt

_ROLES = {Role.USER: "user", Role.ASSISTANT: "model"}
_FINISH = {
    "STOP": FinishReason.STOP,
    "MAX_TOKENS": FinishReason.LENGTH,
    "CONTINUATION": FinishReason.LENGTH,
    "SAFETY": FinishReason.REFUSAL,
    "RECITATION": FinishReason.REFUSAL,
    "LANGUAGE": FinishReason.REFUSAL,
    "BLOCKLIST": FinishReason.REFUSAL,
    "PROHIBITED_CONTENT": FinishReason.REFUSAL,
    "SPII": FinishReason.REFUSAL,
    "ESCALATION": FinishReason.REFUSAL,
    "MODEL_ARMOR": FinishReason.REFUSAL,
}
_LIMITED, _FAILING = ("RESOURCE_EXHAUSTED",), ("INTERNAL", "UNAVAILABLE", "DEADLINE_EXCEEDED", "")


class GeminiGenerateContent:
    home = "https://generativelanguage.googleapis.com"

    def request(self, prompt: Prompt) -> HttpRequest:
        config: JsonObject = {"maxOutputTokens": prompt.max_output_tokens}
        if prompt.temperature is not None:
            config["temperature"] = prompt.temperature
        if prompt.output_schema is not None:
            config["responseMimeType"] = "application/json"
            config["responseJsonSchema"] = prompt.output_schema.definition
        contents: list[Json] = [
            {"role": _ROLES[turn.role], "parts": [{"text": turn.text}]} for turn in prompt.turns
        ]
        body: JsonObject = {
            "contents": contents,
            "generationConfig": config,
            "serviceTier": "standard",
        }
        if prompt.system:
            body["systemInstruction"] = {"parts": [{"text": prompt.system}]}
        name = quote(prompt.model_name, safe="")
        return HttpRequest(f"/v1/models/{name}:streamGenerateContent?alt=sse", body, {})

    def authorization(self, key: str) -> Mapping[str, str]:
        return {"x-goog-api-key": key}

    def reader(self) -> GeminiReader:
        return GeminiReader()

    def refusal(self, status: int, body: JsonObject) -> ProviderFault | None:
        error = child(body, "error")
        details = error.get("details")
        kinds = [d for d in details if isinstance(d, dict)] if isinstance(details, list) else []
        if any(_is_daily(detail) for detail in kinds):
            return ProviderFault(Fault.EXHAUSTED, "the daily quota is used up", status=status)
        delays = [text(detail, "retryDelay") for detail in kinds]
        seconds = next((_seconds(delay) for delay in delays if delay), None)
        if text(error, "status") in _LIMITED:
            words = f"HTTP {status}: too many requests"
            return ProviderFault(Fault.LIMITED, words, status=status, retry_after=seconds)
        return None


class GeminiReader:
    def __init__(self) -> None:
        self.request_id = ""
        self.done = False  # no event is the last one: the stream's end is the reply's
        self._reason = ""
        self._blocked = False
        self._reports = GeminiUsage()

    @property
    def usage(self) -> ReportedUsage:
        return self._reports.reported()

    def read(self, data: str) -> str:
        fields = parse_object(data)
        if "error" in fields:
            raise _told_fault(text(child(fields, "error"), "status"))
        self.request_id = text(fields, "responseId") or self.request_id
        self._reports.add(child(fields, "usageMetadata"))
        self._blocked = self._blocked or bool(text(child(fields, "promptFeedback"), "blockReason"))
        candidates = fields.get("candidates")
        candidate = candidates[0] if isinstance(candidates, list) and candidates else None
        return self._said(candidate) if isinstance(candidate, dict) else ""

    def end(self) -> Ended:
        if self._blocked:
            return Ended(FinishReason.REFUSAL, self.usage)
        if not self._reason:
            raise unfinished()
        return Ended(_FINISH.get(self._reason, FinishReason.UNKNOWN), self.usage)

    def _said(self, candidate: JsonObject) -> str:
        self._reason = text(candidate, "finishReason") or self._reason
        parts = child(candidate, "content").get("parts")
        texts = parts if isinstance(parts, list) else []
        said = [p for p in texts if isinstance(p, dict) and p.get("thought") is not True]
        return "".join(text(part, "text") for part in said)


def _is_daily(detail: JsonObject) -> bool:
    violations = detail.get("violations")
    quotas = violations if isinstance(violations, list) else []
    return any(isinstance(q, dict) and "PerDay" in text(q, "quotaId") for q in quotas)


def _seconds(delay: str) -> float | None:
    try:
        return max(float(delay.removesuffix("s")), 0.0)
    except ValueError:
        return None


def _told_fault(status: str) -> ProviderFault:
    if status in _FAILING:
        fault = Fault.UNAVAILABLE
    else:
        fault = Fault.LIMITED if status in _LIMITED else Fault.REFUSED
    return ProviderFault(fault, f"the provider broke the reply off: {fault}", status=200)
