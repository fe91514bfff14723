"""Gemini generateContent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from llmstub import tokens
from llmstub.domain import FinishReason, GenerationRequest, RequestRefused
from llmstub.formats import parameters
from llmstub.formats.parameters import proto_name
from llmstub.formats.schema_rules import check_gemini
from llmstub.formats.wire_format import ServerSentEvent, encode_event
from llmstub.replies.schema_hints import with_hints
from llmstub.replies.schemas import as_object

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from llmstub.domain import Answer, ApiError, JsonObject, Reply, Usage
    from llmstub.json_fields import JsonFields

_ERRORS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_FINISHES = {
    FinishReason.STOP: "STOP",
    FinishReason.LENGTH: "MAX_TOKENS",
    FinishReason.STOP_SEQUENCE: "STOP",
    FinishReason.FILTERED: "SAFETY",
}
_TIERS = ("unspecified", "standard", "flex", "priority")
_LEVELS = {"minimal": 16, "low": 64, "medium": 128, "high": 256, "xhigh": 384}
_UNASKED_THOUGHTS = 32  # these models think whether asked or not
_SHARE_OF_BUDGET = 8
_GOOGLE = "type.googleapis.com/google.rpc."


@dataclass(frozen=True, slots=True)
class Gemini:
    """`generateContent`, streamed or not, and `countTokens`."""

    model: str = ""  # it and the method stand in the path
    stream: bool = False
    counts: bool = False
    provider: Literal["gemini"] = "gemini"
    request_id_header: str = "x-goog-request-id"

    def key(self, headers: Mapping[str, str], query: Mapping[str, str]) -> str:
        return headers.get("x-goog-api-key", "") or query.get("key", "")

    def key_refused(self, key: str) -> RequestRefused:
        if not key:
            return RequestRefused(403, "Method doesn't allow unregistered callers. Use API Key.")
        return RequestRefused(400, "API key not valid. Please pass a valid API key.")

    def read_request(
        self, body: JsonFields, headers: Mapping[str, str], query: Mapping[str, str]
    ) -> GenerationRequest:
        if self.stream and query.get("alt") != "sse":
            raise RequestRefused(400, "streamGenerateContent is answered with alt=sse only", "alt")
        request = body.child("generateContentRequest") if self.counts else None
        if not self.counts:
            _check_fields(body)
        return self._read(request or body)

    def _read(self, body: JsonFields) -> GenerationRequest:
        prompt = "\n\n".join(_texts(body))
        config = body.child("generationConfig")
        thinking = config.child("thinkingConfig") if config else None
        return GenerationRequest(
            model=self.model,
            prompt=prompt,
            input_tokens=tokens.count(prompt),
            max_tokens=config.integer("maxOutputTokens", 1) if config else None,
            stream=self.stream,
            schema=_schema(config),
            reasoning_tokens=_thoughts(thinking),
            shows_reasoning=bool(thinking and thinking.flag("includeThoughts")),
            stops=config.texts("stopSequences") if config else (),
            cached_prefix=tokens.cached_prefix(prompt) if body.text("cachedContent") else None,
        )

    def whole(self, answer: Answer) -> JsonObject:
        reply = answer.reply
        parts: list[object] = [_thought(reply.reasoning)] if reply.reasoning else []
        parts += [{"text": reply.text}] if reply.chunks else []
        finish = self.finish_reason(reply)
        return _response(answer, parts, _usage(reply.usage, reply.usage.output), finish)

    def events(self, answer: Answer) -> Iterator[ServerSentEvent]:
        reply = answer.reply
        if reply.reasoning:
            parts: list[object] = [_thought(reply.reasoning)]
            yield ServerSentEvent(_response(answer, parts, _usage(reply.usage, 0)))
        sent = 0  # bytes
        last = len(reply.chunks) - 1
        for n, chunk in enumerate(reply.chunks):
            sent += len(chunk.encode())
            finish = self.finish_reason(reply) if n == last else ""
            usage = _usage(reply.usage, tokens.of_bytes(sent))
            yield ServerSentEvent(_response(answer, [{"text": chunk}], usage, finish), text=chunk)
        if not reply.chunks:
            usage = _usage(reply.usage, 0)
            yield ServerSentEvent(_response(answer, [], usage, self.finish_reason(reply)))

    def encode(self, event: ServerSentEvent, index: int) -> bytes:
        return encode_event(event, event.data, newline="\r\n")

    def finish_reason(self, reply: Reply) -> str:
        return _FINISHES[reply.finish]

    def error(self, api_error: ApiError, request_id: str) -> JsonObject:
        default = "FAILED_PRECONDITION" if api_error.status < 500 else "INTERNAL"
        error: JsonObject = {
            "code": api_error.status,
            "message": api_error.message,
            "status": _ERRORS.get(api_error.status, default),
        }
        details = _details(api_error)
        if details:
            error["details"] = details
        return {"error": error}

    def error_event(self, api_error: ApiError, request_id: str) -> ServerSentEvent:
        return ServerSentEvent(self.error(api_error, request_id))

    def failed(self, answer: Answer, api_error: ApiError) -> JsonObject:
        return self.error(api_error, answer.id)

    def failed_event(self, answer: Answer, api_error: ApiError) -> ServerSentEvent:
        return self.error_event(api_error, answer.id)

    def unknown_event(self) -> ServerSentEvent:
        return ServerSentEvent({"llmstubUnknown": {"note": "a field from a later version"}})


def counted(request: GenerationRequest) -> JsonObject:
    """Return the answer to a request that only counts tokens."""
    return {
        "totalTokens": request.input_tokens,
        "promptTokensDetails": _modality(request.input_tokens),
    }


def _check_fields(body: JsonFields) -> None:
    """Refuse fields that do not exist, all of them in one answer."""
    inner = body.child("generationConfig") or body.child("generation_config")
    unknown = [name for name in body.raw if proto_name(name) not in parameters.GEMINI]
    unknown += [
        f"generation_config.{name}"
        for name in (inner.raw if inner else ())
        if proto_name(name) not in parameters.GEMINI_GENERATION
    ]
    if unknown:
        wording = "Invalid JSON payload received. Unknown name {}: Cannot find field."
        words = "\n".join(wording.format(f'"{name}"') for name in unknown)
        raise RequestRefused(400, words, unknown[0])
    if (body.text("serviceTier") or "standard").lower() not in _TIERS:
        raise RequestRefused(400, "Invalid value at 'service_tier'", "service_tier")


def _texts(body: JsonFields) -> list[str]:
    body.required("contents")
    contents = body.children("contents")
    if not contents:
        raise RequestRefused(400, "* GenerateContentRequest.contents: contents is not specified")
    system = body.child("systemInstruction") or body.child("system_instruction")
    texts: list[str] = []
    for content in [*([system] if system else []), *contents]:
        parts = content.children("parts")
        if not parts or any(part.raw.get("text") == "" for part in parts):
            place = f"GenerateContentRequest.{content.path('parts')}"
            raise RequestRefused(400, f"* {place}: contents.parts must not be empty.")
        texts += [part.text("text") or "" for part in parts]
    return texts


def _schema(config: JsonFields | None) -> JsonObject | None:
    if config is None:
        return None
    is_json = config.text("responseMimeType") == "application/json"
    schema = config.raw.get("responseJsonSchema")
    openapi = config.raw.get("responseSchema")
    if (schema is not None or openapi is not None) and not is_json:
        raise RequestRefused(
            400, "response_schema needs response_mime_type application/json", "responseMimeType"
        )
    if schema is not None and openapi is not None:
        raise RequestRefused(400, "response_schema and response_json_schema cannot both be set")
    if schema is not None:
        check_gemini(as_object(schema))
        return as_object(with_hints(schema))
    if openapi is not None:
        return cast("JsonObject", _json_schema(openapi))
    return {} if is_json else None


def _json_schema(part: object, name: str = "") -> object:
    """Translate OpenAPI's spelling: TYPES in capitals, `nullable`, numbers as strings."""
    if isinstance(part, list):
        return [_json_schema(item) for item in cast("list[object]", part)]
    if not isinstance(part, dict):
        is_number = name.startswith(("min", "max")) and isinstance(part, str)
        return float(cast("str", part)) if is_number else part
    node = cast("JsonObject", part)
    if name == "properties":
        return {key: _json_schema(value) for key, value in node.items()}
    schema = {key: _json_schema(value, key) for key, value in node.items() if key != "enum"}
    if "enum" in node:
        schema["enum"] = node["enum"]
    if isinstance(node.get("type"), str):
        schema["type"] = str(node["type"]).lower()
    if schema.pop("nullable", False) is True and "type" in schema:
        schema["type"] = [schema["type"], "null"]
    return schema


def _thoughts(thinking: JsonFields | None) -> int:
    if thinking is None:
        return _UNASKED_THOUGHTS
    budget = thinking.integer("thinkingBudget", -1)
    if budget is not None and budget >= 0:
        return budget // _SHARE_OF_BUDGET
    level = (thinking.text("thinkingLevel") or "").lower()
    return _LEVELS.get(level, _UNASKED_THOUGHTS)


def _thought(text: str) -> JsonObject:
    return {"text": text, "thought": True}


def _response(
    answer: Answer, parts: list[object], usage: JsonObject, finish: str = ""
) -> JsonObject:
    candidate: JsonObject = {"content": {"parts": parts, "role": "model"}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    return {
        "candidates": [candidate],
        "usageMetadata": usage,
        "modelVersion": answer.request.model,
        "responseId": answer.id,
    }


def _usage(usage: Usage, output: int) -> JsonObject:
    metadata: JsonObject = {
        "promptTokenCount": usage.whole_input,
        "candidatesTokenCount": output,
        "totalTokenCount": usage.whole_input + output + usage.reasoning,
        "promptTokensDetails": _modality(usage.whole_input),
        "thoughtsTokenCount": usage.reasoning,
    }
    if usage.cache_read:
        metadata["cachedContentTokenCount"] = usage.cache_read
        metadata["cacheTokensDetails"] = _modality(usage.cache_read)
    return metadata


def _modality(count: int) -> list[object]:
    return [{"modality": "TEXT", "tokenCount": count}]


def _details(api_error: ApiError) -> list[object]:
    if api_error.spend_limit:
        quota = "GenerateRequestsPerDayPerProjectPerModel"
        return [{"@type": f"{_GOOGLE}QuotaFailure", "violations": [{"quotaId": quota}]}]
    if api_error.retry_after is not None:
        return [{"@type": f"{_GOOGLE}RetryInfo", "retryDelay": f"{api_error.retry_after:g}s"}]
    return []
