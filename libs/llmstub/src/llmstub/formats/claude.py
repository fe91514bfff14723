"""Claude Messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from llmstub.domain import FinishReason, GenerationRequest, RequestRefused
from llmstub.formats import claude_request
from llmstub.formats.wire_format import ServerSentEvent, bearer, encode_event

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from llmstub.domain import Answer, ApiError, JsonObject, Reply, Usage
    from llmstub.json_fields import JsonFields

_ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_FINISHES = {
    FinishReason.STOP: "end_turn",
    FinishReason.LENGTH: "max_tokens",
    FinishReason.STOP_SEQUENCE: "stop_sequence",
    FinishReason.FILTERED: "refusal",
}


@dataclass(frozen=True, slots=True)
class ClaudeMessages:
    """`POST /v1/messages` and its count of tokens."""

    counts: bool = False  # POST …/count_tokens
    provider: Literal["claude"] = "claude"
    request_id_header: str = "request-id"

    def key(self, headers: Mapping[str, str], query: Mapping[str, str]) -> str:
        return headers.get("x-api-key", "") or bearer(headers)

    def key_refused(self, key: str) -> RequestRefused:
        return RequestRefused(401, "invalid x-api-key" if key else "x-api-key header is required")

    def read_request(
        self, body: JsonFields, headers: Mapping[str, str], query: Mapping[str, str]
    ) -> GenerationRequest:
        version = headers.get("anthropic-version", "")
        return claude_request.read(body, version, counts=self.counts)

    def whole(self, answer: Answer) -> JsonObject:
        reply = answer.reply
        content: list[object] = []
        if reply.reasoning:
            content.append(_thinking(answer, reply.reasoning, _signature(answer)))
        if reply.chunks:
            content.append({"type": "text", "text": reply.text})
        return (
            _message(answer) | _ending(reply) | {"content": content, "usage": _usage(reply.usage)}
        )

    def events(self, answer: Answer) -> Iterator[ServerSentEvent]:
        reply = answer.reply
        usage = _usage(reply.usage) | {"output_tokens": min(1, reply.usage.whole_output)}
        started = _message(answer) | {"stop_reason": None, "stop_sequence": None, "usage": usage}
        yield _event("message_start", message=started)
        yield _event("ping")
        index = 0
        if reply.reasoning:
            yield _event("content_block_start", index=0, content_block=_thinking(answer, "", ""))
            yield _delta(0, "thinking_delta", "thinking", reply.reasoning)
            yield _delta(0, "signature_delta", "signature", _signature(answer))
            yield _event("content_block_stop", index=0)
            index = 1
        if reply.chunks:
            block = {"type": "text", "text": ""}
            yield _event("content_block_start", index=index, content_block=block)
            for chunk in reply.chunks:
                yield _delta(index, "text_delta", "text", chunk)
            yield _event("content_block_stop", index=index)
        yield _event("message_delta", delta=_ending(reply), usage=_cumulative(reply.usage))
        yield _event("message_stop")

    def encode(self, event: ServerSentEvent, index: int) -> bytes:
        return encode_event(event, event.data)

    def finish_reason(self, reply: Reply) -> str:
        return _FINISHES[reply.finish]

    def error(self, api_error: ApiError, request_id: str) -> JsonObject:
        default = "invalid_request_error" if api_error.status < 500 else "api_error"
        error: JsonObject = {
            "type": _ERRORS.get(api_error.status, default),
            "message": api_error.message,
        }
        if api_error.spend_limit:
            error["details"] = {"error_code": "enforced_spend_limit_reached"}
        return {"type": "error", "error": error, "request_id": request_id}

    def error_event(self, api_error: ApiError, request_id: str) -> ServerSentEvent:
        return ServerSentEvent(self.error(api_error, request_id), event="error")

    def failed(self, answer: Answer, api_error: ApiError) -> JsonObject:
        return self.error(api_error, f"req_{answer.id}")

    def failed_event(self, answer: Answer, api_error: ApiError) -> ServerSentEvent:
        return self.error_event(api_error, f"req_{answer.id}")

    def unknown_event(self) -> ServerSentEvent:
        return _event("llmstub_unknown", note="an event from a later version")


def counted(request: GenerationRequest) -> JsonObject:
    """Return the answer to a request that only counts tokens."""
    return {"input_tokens": request.input_tokens}


def _message(answer: Answer) -> JsonObject:
    return {
        "id": f"msg_{answer.id}",
        "type": "message",
        "role": "assistant",
        "model": answer.request.model,
        "content": [],
    }


def _ending(reply: Reply) -> JsonObject:
    ending: JsonObject = {"stop_reason": _FINISHES[reply.finish], "stop_sequence": reply.stop}
    if reply.finish is FinishReason.FILTERED:
        ending["stop_details"] = {"type": "refusal", "category": None, "explanation": None}
    return ending


def _thinking(answer: Answer, text: str, signature: str) -> JsonObject:
    return {"type": "thinking", "thinking": text, "signature": signature}


def _signature(answer: Answer) -> str:
    return f"sig{answer.id}"


def _usage(usage: Usage) -> JsonObject:
    return _cumulative(usage) | {
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write_short,
            "ephemeral_1h_input_tokens": usage.cache_write_long,
        },
        "service_tier": "standard",
    }


def _cumulative(usage: Usage) -> JsonObject:
    return {
        "input_tokens": usage.input,
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cache_read,
        "output_tokens": usage.whole_output,
        "output_tokens_details": {"thinking_tokens": usage.reasoning},
    }


def _event(event: str, **data: object) -> ServerSentEvent:
    return ServerSentEvent({"type": event, **data}, event=event)


def _delta(index: int, kind: str, name: str, text: str) -> ServerSentEvent:
    data: JsonObject = {
        "type": "content_block_delta",
        "index": index,
        "delta": {"type": kind, name: text},
    }
    return ServerSentEvent(
        data, event="content_block_delta", text=text if kind == "text_delta" else ""
    )
