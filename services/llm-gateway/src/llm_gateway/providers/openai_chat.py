"""OpenAI Chat Completions, which many other servers speak too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jsonvalues import JsonObject, parse_object
from llm_gateway.domain.usage import FinishReason, ReportedUsage
from llm_gateway.providers.openai_errors import HOME, bearer, fault_of, refusal
from llm_gateway.providers.usage import ChatUsage
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

_END = "[DONE]"
_FINISH = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "content_filter": FinishReason.REFUSAL,
}


class OpenAiChat:
    home = HOME

    def request(self, prompt: Prompt) -> HttpRequest:
        system: list[JsonObject] = [{"role": "system", "content": prompt.system}]
        turns: list[JsonObject] = [{"role": t.role, "content": t.text} for t in prompt.turns]
        body: JsonObject = {
            "model": prompt.model_name,
            "messages": [*(system if prompt.system else ()), *turns],
            "max_completion_tokens": prompt.max_output_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
            "service_tier": "default",  # left out, the project's own setting would count
        }
        if prompt.temperature is not None:
            body["temperature"] = prompt.temperature
        if prompt.output_schema is not None:
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {
                    "name": "reply",
                    "schema": prompt.output_schema.definition,
                    "strict": prompt.output_schema.strict,
                },
            }
        return HttpRequest("/v1/chat/completions", body, {})

    def authorization(self, key: str) -> Mapping[str, str]:
        return bearer(key)

    def reader(self) -> ChatReader:
        return ChatReader()

    def refusal(self, status: int, body: JsonObject) -> ProviderFault | None:
        return refusal(status, body)


class ChatReader:
    def __init__(self) -> None:
        self.request_id = ""
        self.done = False
        self._reason = ""
        self._declined = False
        self._reports = ChatUsage()

    @property
    def usage(self) -> ReportedUsage:
        return self._reports.reported()

    def read(self, data: str) -> str:
        if data == _END:
            self.done = True
            return ""
        fields = parse_object(data)
        if error := child(fields, "error"):
            raise fault_of(text(error, "code"))
        self.request_id = text(fields, "id") or self.request_id
        choices = fields.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        self._reports.served("service_tier", fields.get("service_tier"))
        for holder in (fields, child(fields, "x_groq"), choice):  # Groq's, Moonshot's
            self._reports.add(child(holder, "usage") if isinstance(holder, dict) else {})
        return self._said(choice) if isinstance(choice, dict) else ""

    def end(self) -> Ended:
        if not self._reason:  # some servers leave out the mark of the end
            raise unfinished()
        finish = _FINISH.get(self._reason, FinishReason.UNKNOWN)
        return Ended(FinishReason.REFUSAL if self._declined else finish, self.usage)

    def _said(self, choice: JsonObject) -> str:
        self._reason = text(choice, "finish_reason") or self._reason
        delta = child(choice, "delta")
        declined = text(delta, "refusal")
        self._declined = self._declined or bool(declined)
        return text(delta, "content") + declined
