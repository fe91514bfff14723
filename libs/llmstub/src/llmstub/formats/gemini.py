"""Gemini generateContent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from llmstub import tokens
from llmstub.domain import Ask, Finish, Refused
from llmstub.formats import parameters
from llmstub.formats.parameters import proto_name
from llmstub.formats.schema_rules import check_gemini
from llmstub.formats.wire_format import Frame, server_sent
from llmstub.replies.schema import as_object
from llmstub.replies.told_schemas import schema_in, with_hints

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from llmstub.domain import Answer, JsonObject, Problem, Reply, Usage
    from llmstub.fields import Fields

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
    Finish.STOP: "STOP",
    Finish.LENGTH: "MAX_TOKENS",
    Finish.STOP_SEQUENCE: "STOP",
    Finish.FILTERED: "SAFETY",
}
_TIERS = ("unspecified", "standard", "flex", "priority")
_LEVELS = {"minimal": 16, "low": 64, "medium": 128, "high": 256, "xhigh": 384}
_UNASKED_THOUGHTS = 32  # these models think whether asked or not
_SHARE_OF_BUDGET = 8
_ANY_OBJECT: JsonObject = {
    "type": "object",
    "properties": {"title": {"type": "string"}, "summary": {"type": "string"}},
}
_GOOGLE = "type.googleapis.com/google.rpc."


@dataclass(frozen=True, slots=True)
class Gemini:
    model: str = ""  # it and the method stand in the path
    stream: bool = False
    counts: bool = False
    provider: Literal["gemini"] = "gemini"
    request_id_header: str = "x-goog-request-id"

    def key(self, headers: Mapping[str, str], query: Mapping[str, str]) -> str:
        return headers.get("x-goog-api-key", "") or query.get("key", "")

    def key_refused(self, key: str) -> Refused:
        if not key:
            return Refused(403, "Method doesn't allow unregistered callers. Use API Key.")
        return Refused(400, "API key not valid. Please pass a valid API key.")

    def ask(self, body: Fields, headers: Mapping[str, str], query: Mapping[str, str]) -> Ask:
        if self.stream and query.get("alt") != "sse":
            raise Refused(400, "streamGenerateContent is answered with alt=sse only", "alt")
        request = body.child("generateContentRequest") if self.counts else None
        if not self.counts:
            _check_fields(body)
        return self._ask(request or body)

    def _ask(self, body: Fields) -> Ask:
        prompt = "\n\n".join(_texts(body))
        config = body.child("generationConfig")
        thinking = config.child("thinkingConfig") if config else None
        return Ask(
            model=self.model,
            prompt=prompt,
            input_tokens=tokens.count(prompt),
            max_tokens=config.integer("maxOutputTokens", 1) if config else None,
            stream=self.stream,
            schema=_schema(config, prompt),
            reasoning_tokens=_thoughts(thinking),
            shows_reasoning=bool(thinking and thinking.flag("includeThoughts")),
            stops=config.texts("stopSequences") if config else (),
            caching=tokens.caching(prompt) if body.text("cachedContent") else None,
        )

    def whole(self, answer: Answer) -> JsonObject:
        reply = answer.reply
        parts: list[object] = [_thought(reply.reasoning)] if reply.reasoning else []
        parts += [{"text": reply.text}] if reply.pieces else []
        finish = self.finish_reason(reply)
        return _response(answer, parts, _usage(reply.usage, reply.usage.output), finish)

    def frames(self, answer: Answer) -> Iterator[Frame]:
        reply = answer.reply
        if reply.reasoning:
            parts: list[object] = [_thought(reply.reasoning)]
            yield Frame(_response(answer, parts, _usage(reply.usage, 0)))
        sent = 0  # bytes
        last = len(reply.pieces) - 1
        for n, piece in enumerate(reply.pieces):
            sent += len(piece.encode())
            finish = self.finish_reason(reply) if n == last else ""
            usage = _usage(reply.usage, tokens.of_bytes(sent))
            yield Frame(_response(answer, [{"text": piece}], usage, finish), text=piece)
        if not reply.pieces:
            usage = _usage(reply.usage, 0)
            yield Frame(_response(answer, [], usage, self.finish_reason(reply)))

    def encode(self, frame: Frame, index: int) -> bytes:
        return server_sent(frame, frame.data, newline="\r\n")

    def finish_reason(self, reply: Reply) -> str:
        return _FINISHES[reply.finish]

    def error(self, problem: Problem, request_id: str) -> JsonObject:
        default = "FAILED_PRECONDITION" if problem.status < 500 else "INTERNAL"
        error: JsonObject = {
            "code": problem.status,
            "message": problem.message,
            "status": _ERRORS.get(problem.status, default),
        }
        details = _details(problem)
        if details:
            error["details"] = details
        return {"error": error}

    def error_frame(self, problem: Problem, request_id: str) -> Frame:
        return Frame(self.error(problem, request_id))

    def failed(self, answer: Answer, problem: Problem) -> JsonObject:
        return self.error(problem, answer.id)

    def failed_frame(self, answer: Answer, problem: Problem) -> Frame:
        return self.error_frame(problem, answer.id)

    def unknown_frame(self) -> Frame:
        return Frame({"llmstubUnknown": {"note": "a field from a later version"}})


def counted(ask: Ask) -> JsonObject:
    """Return the answer to a request that only counts tokens."""
    return {
        "totalTokens": ask.input_tokens,
        "promptTokensDetails": _modality(ask.input_tokens),
    }


def _check_fields(body: Fields) -> None:
    """Refuse fields that do not exist, all of them in one answer."""
    inner = body.child("generationConfig") or body.child("generation_config")
    unknown = [name for name in body.raw if proto_name(name) not in parameters.GEMINI]
    unknown += [
        f"generation_config.{name}"
        for name in (inner.raw if inner else ())
        if proto_name(name) not in parameters.GEMINI_GENERATION
    ]
    if unknown:
        told = "Invalid JSON payload received. Unknown name {}: Cannot find field."
        words = "\n".join(told.format(f'"{name}"') for name in unknown)
        raise Refused(400, words, unknown[0])
    if (body.text("serviceTier") or "standard").lower() not in _TIERS:
        raise Refused(400, "Invalid value at 'service_tier'", "service_tier")


def _texts(body: Fields) -> list[str]:
    body.required("contents")
    contents = body.children("contents")
    if not contents:
        raise Refused(400, "* GenerateContentRequest.contents: contents is not specified")
    system = body.child("systemInstruction") or body.child("system_instruction")
    texts: list[str] = []
    for content in [*([system] if system else []), *contents]:
        parts = content.children("parts")
        if not parts or any(part.raw.get("text") == "" for part in parts):
            place = f"GenerateContentRequest.{content.path('parts')}"
            raise Refused(400, f"* {place}: contents.parts must not be empty.")
        texts += [part.text("text") or "" for part in parts]
    return texts


def _schema(config: Fields | None, prompt: str) -> JsonObject | None:
    if config is None:
        return None
    is_json = config.text("responseMimeType") == "application/json"
    schema = config.raw.get("responseJsonSchema")
    openapi = config.raw.get("responseSchema")
    if (schema or openapi) and not is_json:
        raise Refused(
            400, "response_schema needs response_mime_type application/json", "responseMimeType"
        )
    if schema is not None and openapi is not None:
        raise Refused(400, "response_schema and response_json_schema cannot both be set")
    if schema is not None:
        check_gemini(as_object(schema))
        return as_object(with_hints(schema))
    if openapi is not None:
        return cast("JsonObject", _json_schema(openapi))
    return (schema_in(prompt) or _ANY_OBJECT) if is_json else None


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


def _thoughts(thinking: Fields | None) -> int:
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
        "modelVersion": answer.ask.model,
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


def _details(problem: Problem) -> list[object]:
    if problem.spend_limit:
        quota = "GenerateRequestsPerDayPerProjectPerModel"
        return [{"@type": f"{_GOOGLE}QuotaFailure", "violations": [{"quotaId": quota}]}]
    if problem.retry_after is not None:
        return [{"@type": f"{_GOOGLE}RetryInfo", "retryDelay": f"{problem.retry_after:g}s"}]
    return []
