"""OpenAI Chat Completions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from llmstub import tokens
from llmstub.domain import Ask, Finish, Refused
from llmstub.formats import openai, parameters
from llmstub.formats.wire_format import Frame, bearer, server_sent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from llmstub.domain import Answer, JsonObject, Problem, Reply, Usage
    from llmstub.fields import Fields

_FINISHES = {
    Finish.STOP: "stop",
    Finish.LENGTH: "length",
    Finish.STOP_SEQUENCE: "stop",
    Finish.FILTERED: "content_filter",
}
_DONE = Frame("[DONE]")
_ROLES = ("developer", "system", "user", "assistant", "tool", "function")


@dataclass(frozen=True, slots=True)
class OpenAiChat:
    provider: Literal["openai"] = "openai"
    request_id_header: str = openai.REQUEST_ID_HEADER

    def key(self, headers: Mapping[str, str], query: Mapping[str, str]) -> str:
        return bearer(headers)

    def key_refused(self, key: str) -> Refused:
        return openai.key_refused(key)

    def ask(self, body: Fields, headers: Mapping[str, str], query: Mapping[str, str]) -> Ask:
        body.required("model")
        openai.check_parameters(body, parameters.CHAT)
        prompt = "\n\n".join(_messages(body))
        options = body.child("stream_options")
        limit = body.integer("max_completion_tokens", 1)
        cache_key = body.text("prompt_cache_key")
        return Ask(
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
            caching=tokens.caching(prompt) if cache_key else None,
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

    def frames(self, answer: Answer) -> Iterator[Frame]:
        yield _chunk(answer, {"role": "assistant", "content": "", "refusal": None})
        for piece in answer.reply.pieces:
            yield _chunk(answer, {"content": piece}, text=piece)
        yield _chunk(answer, {}, finish=self.finish_reason(answer.reply))
        if answer.ask.stream_usage:
            usage: JsonObject = {"choices": [], "usage": _usage(answer.reply.usage)}
            yield Frame(_envelope(answer, "chat.completion.chunk") | usage)
        yield _DONE

    def encode(self, frame: Frame, index: int) -> bytes:
        return server_sent(frame, frame.data)

    def finish_reason(self, reply: Reply) -> str:
        return _FINISHES[reply.finish]

    def error(self, problem: Problem, request_id: str) -> JsonObject:
        return openai.error(problem)

    def error_frame(self, problem: Problem, request_id: str) -> Frame:
        return Frame(openai.error(problem))

    def failed(self, answer: Answer, problem: Problem) -> JsonObject:
        return openai.error(problem)

    def failed_frame(self, answer: Answer, problem: Problem) -> Frame:
        return Frame(openai.error(problem))

    def unknown_frame(self) -> Frame:
        return Frame({"object": "llmstub.unknown", "choices": []})


def _messages(body: Fields) -> list[str]:
    body.required("messages")
    messages = body.children("messages")
    if not messages:
        raise Refused(400, "Invalid 'messages': empty array.", "messages")
    texts: list[str] = []
    for message in messages:
        if message.text("role") not in _ROLES:
            raise Refused(400, "Invalid value for 'role'.", message.path("role"))
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
        "model": answer.ask.model,
        "service_tier": "default",
        "system_fingerprint": "fp_llmstub",
    }


def _chunk(
    answer: Answer, delta: JsonObject, *, text: str = "", finish: str | None = None
) -> Frame:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    data = _envelope(answer, "chat.completion.chunk") | {"choices": [choice]}
    if answer.ask.stream_usage:
        data["usage"] = None
    return Frame(data, text=text)


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
