"""The wire format Gemini generateContent."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from llm_gateway.domain.models import WireFormat
from llm_gateway.domain.provider_errors import ProviderError
from llm_gateway.domain.reply_ends import EndSignals
from llm_gateway.domain.requests import Role
from llm_gateway.providers.schemas import for_gemini, prompt_and_schema
from llm_gateway.providers.usage import GeminiUsage
from llm_gateway.providers.wire_format import (
    HttpRequest,
    child,
    children,
    first_choice,
    string,
    text,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jsonvalues import Json, JsonObject
    from llm_gateway.domain.requests import Prompt
    from llm_gateway.domain.usage import ReportedUsage

_ROLES = {Role.USER: "user", Role.ASSISTANT: "model"}
_BLOCKED = "SAFETY"
_TOOLS = ("functionCall", "toolCall", "executableCode")


class GeminiGenerateContent:
    """Makes requests to Gemini's generateContent API."""

    home = "https://generativelanguage.googleapis.com"
    wire_format = WireFormat.GEMINI_GENERATE_CONTENT
    endpoint = re.compile(r"(/openai|/models(/[^/]+:(stream)?generateContent)?)$", re.IGNORECASE)
    versioned = True

    def request(self, prompt: Prompt) -> HttpRequest:
        config: JsonObject = {"maxOutputTokens": prompt.max_output_tokens}
        if prompt.temperature is not None:
            config["temperature"] = prompt.temperature
        if prompt.output_schema is not None:
            config["responseMimeType"] = "application/json"
        system, schema = prompt_and_schema(prompt, for_gemini)
        if schema is not None:
            config["responseJsonSchema"] = schema
        contents: list[Json] = [
            {"role": _ROLES[turn.role], "parts": [{"text": turn.text}]} for turn in prompt.turns
        ]
        body: JsonObject = {
            "contents": contents,
            "generationConfig": config,
            "serviceTier": "standard",
        }
        if system:
            body["systemInstruction"] = {"parts": [{"text": system}]}
        name = quote(prompt.model_name.removeprefix("models/"), safe="")
        return HttpRequest(f"/v1/models/{name}:streamGenerateContent?alt=sse", body, {})

    def authorization(self, key: str, host: str) -> Mapping[str, str]:
        return {"x-goog-api-key": key}

    def reader(self) -> GeminiReader:
        return GeminiReader()


class GeminiReader:
    """Reads a stream of responses, none of which is marked as the last."""

    def __init__(self) -> None:
        self.request_id = ""
        self.done = False
        self.end = EndSignals()
        self.provider_error = ProviderError()
        self._reports = GeminiUsage()

    @property
    def usage(self) -> ReportedUsage:
        return self._reports.reported()

    def read(self, fields: JsonObject) -> str:
        self._reports.add(child(fields, "usageMetadata"))
        request_id = string(fields, "responseId")
        if self.end.received and request_id and request_id != self.request_id:
            return ""  # another reply, after the end of this one
        self.request_id = request_id or self.request_id
        feedback = child(fields, "promptFeedback")
        if blocked := string(feedback, "blockReason"):
            self.end.refused = True
            self.end.word = self.end.word or _BLOCKED
            why = string(feedback, "blockReasonMessage")
            self.provider_error = ProviderError.of(blocked, "promptFeedback", "", why)
        candidate = first_choice(fields, "candidates")
        if reason := string(candidate, "finishReason"):
            self.end.word = reason
            if why := string(candidate, "finishMessage"):
                self.provider_error = ProviderError.of(reason, "", "", why)
        return "".join(map(self._part, children(child(candidate, "content"), "parts")))

    def _part(self, part: JsonObject) -> str:
        if part.get("thought") is True:
            self.end.reasoning = True
            return ""
        self.end.tool = self.end.tool or any(name in part for name in _TOOLS)
        return text(part, "text")
