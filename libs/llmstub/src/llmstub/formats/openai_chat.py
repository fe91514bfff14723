"""OpenAI Chat Completions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from llmstub import tokens
from llmstub.domain import FinishReason, GenerationRequest, RequestRefused
from llmstub.formats import openai, parameters
from llmstub.formats.wire_format import ServerSentEvent, bearer, encode_event

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from llmstub.domain import Answer, ApiError, JsonObject, Reply, Usage
    from llmstub.json_fields import JsonFields

_FINISHES = {
    FinishReason.STOP: "stop",
    FinishReason.LENGTH: "length",
    FinishReason.STOP_SEQUENCE: "stop",
    FinishReason.FILTERED: "content_filter",
}
_DONE = ServerSentEvent("[DONE]")
_ROLES = ("developer", "system", "user", "assistant", "tool", "function")


@dataclass(frozen=True, slots=True)
class OpenAiChat:
    """`POST /v1/chat/completions`."""

    provider: Literal["openai"] = "openai"
    request_id_header: str = openai.REQUEST_ID_HEADER

    def key(self, headers: Mapping[str, str], query: Mapping[str, str]) -> str:
        return bearer(headers)

    def key_refused(self, key: str) -> RequestRefused:
        return openai.key_refused(key)

    def read_request(
        self, body: JsonFields, headers: Mapping[str, str], query: Mapping[str, str]
    ) -> GenerationRequest:
        body.required("model")
        openai.check_parameters(body, parameters.CHAT)
        prompt = "\n\n".join(_messages(body))
        options = body.child("stream_options")
        limit = body.integer("max_completion_tokens", 1)
        cache_key = body.text("prompt_cache_key")
        return GenerationRequest(
            model=body.text("model") or "",
            prompt=prompt,
            input_tokens=tokens.count(prompt),
            max_tokens=limit if limit is not None else body.integer("max_tokens", 1),
            stream=body.flag("stream"),
            schema=openai.schema(body.child("response_format")),
            reasoning_tokens=openai.reasoning_tokens(
                body.text("model"), body.text("reasoning_effort"), "reasoning_effort"
            ),
            stops=body.texts("stop"),
            cached_prefix=tokens.cached_prefix(prompt) if cache_key else None,
            stream_usage=bool(options and options.flag("include_usage")),
        )

    def whole(self, answer: Answer) -> JsonObject:
        message = {"role": "assistant", "content": answer.reply.text, "refusal": None}
        return _envelope(answer, "chat.completion") | {
            "choices": [
                {
                    "index": 0,
                    "message": message,
                    "logprobs": None,
                    "finish_reason": self.finish_reason(answer.reply),
                }
            ],
            "usage": _usage(answer.reply.usage),
        }

    def events(self, answer: Answer) -> Iterator[ServerSentEvent]:
        yield _chunk(answer, {"role": "assistant", "content": "", "refusal": None})
        for chunk in answer.reply.chunks:
            yield _chunk(answer, {"content": chunk}, text=chunk)
        yield _chunk(answer, {}, finish=self.finish_reason(answer.reply))
        if answer.request.stream_usage:
            usage: JsonObject = {"choices": [], "usage": _usage(answer.reply.usage)}
            yield ServerSentEvent(_envelope(answer, "chat.completion.chunk") | usage)
        yield _DONE

    def encode(self, event: ServerSentEvent, index: int) -> bytes:
        return encode_event(event, event.data)

    def finish_reason(self, reply: Reply) -> str:
        return _FINISHES[reply.finish]

    def error(self, api_error: ApiError, request_id: str) -> JsonObject:
        return openai.error(api_error)

    def error_event(self, api_error: ApiError, request_id: str) -> ServerSentEvent:
        return ServerSentEvent(openai.error(api_error))

    def failed(self, answer: Answer, api_error: ApiError) -> JsonObject:
        return openai.error(api_error)

    def failed_event(self, answer: Answer, api_error: ApiError) -> ServerSentEvent:
        return ServerSentEvent(openai.error(api_error))

    def unknown_event(self) -> ServerSentEvent:
        return ServerSentEvent({"object": "llmstub.unknown", "choices": []})


def _messages(body: JsonFields) -> list[str]:
    body.required("messages")
    messages = body.children("messages")
    if not messages:
        raise RequestRefused(400, "Invalid 'messages': empty array.", "messages")
    texts: list[str] = []
    for message in messages:
        if message.text("role") not in _ROLES:
            raise RequestRefused(400, "Invalid value for 'role'.", message.path("role"))
        if isinstance(message.raw.get("content"), list):
            parts = message.children("content")
            texts += [part.text("text") or "" for part in parts if part.text("type") == "text"]
        else:
            texts.append(message.text("content") or "")
    return texts


def _envelope(answer: Answer, kind: str) -> JsonObject:
    return {
        "id": f"chatcmpl-{answer.id}",
        "object": kind,
        "created": answer.created,
        "model": answer.request.model,
        "service_tier": "default",
        "system_fingerprint": "fp_llmstub",
    }


def _chunk(
    answer: Answer, delta: JsonObject, *, text: str = "", finish: str | None = None
) -> ServerSentEvent:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    data = _envelope(answer, "chat.completion.chunk") | {"choices": [choice]}
    if answer.request.stream_usage:
        data["usage"] = None
    return ServerSentEvent(data, text=text)


def _usage(usage: Usage) -> JsonObject:
    return {
        "prompt_tokens": usage.whole_input,
        "completion_tokens": usage.whole_output,
        "total_tokens": usage.whole_input + usage.whole_output,
        "prompt_tokens_details": {
            "cached_tokens": usage.cache_read,
            "cache_write_tokens": usage.cache_write,
            "audio_tokens": 0,
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
