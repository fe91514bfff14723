"""OpenAI Responses."""

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

_INCOMPLETE = {FinishReason.LENGTH: "max_output_tokens", FinishReason.FILTERED: "content_filter"}
_LEAST_OUTPUT = 16  # OpenAI refuses a smaller max_output_tokens
_TEXTS = ("input_text", "output_text", "text")


@dataclass(frozen=True, slots=True)
class OpenAiResponses:
    """`POST /v1/responses` and its count of tokens."""

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
        body.required("input")
        openai.check_parameters(body, parameters.RESPONSES)
        model = body.text("model") or ""
        prompt = "\n\n".join(filter(None, [body.text("instructions"), *_input(body)]))
        text = body.child("text")
        reasoning = body.child("reasoning")
        effort = reasoning.text("effort") if reasoning else None
        cache_key = body.text("prompt_cache_key")
        options = body.child("prompt_cache_options")
        is_long = bool(options and options.text("ttl") == "12h")
        return GenerationRequest(
            model=model,
            prompt=prompt,
            input_tokens=tokens.count(prompt),
            max_tokens=body.integer("max_output_tokens", _LEAST_OUTPUT),
            stream=body.flag("stream"),
            schema=openai.schema(text.child("format") if text else None),
            reasoning_tokens=openai.reasoning_tokens(model, effort, "reasoning.effort"),
            shows_reasoning=bool(reasoning and reasoning.text("summary")),
            cached_prefix=tokens.cached_prefix(prompt, is_long=is_long) if cache_key else None,
        )

    def whole(self, answer: Answer) -> JsonObject:
        return _ended(answer)

    def events(self, answer: Answer) -> Iterator[ServerSentEvent]:
        reply = answer.reply
        started = _response(answer, "in_progress")
        yield _event("response.created", response=started)
        yield _event("response.in_progress", response=started)
        index = 0
        if reply.usage.reasoning:
            item = _reasoning(answer)
            yield _event(
                "response.output_item.added", output_index=0, item=_reasoning(answer, begun=True)
            )
            yield from _summary(answer)
            yield _event("response.output_item.done", output_index=0, item=item)
            index = 1
        if reply.chunks:
            yield from _text(answer, index)
        ended = _ended(answer)
        yield _event(f"response.{ended['status']}", response=ended)

    def encode(self, event: ServerSentEvent, index: int) -> bytes:
        if isinstance(event.data, str):
            return encode_event(event, event.data)
        return encode_event(event, event.data | {"sequence_number": index})

    def finish_reason(self, reply: Reply) -> str:
        return _INCOMPLETE.get(reply.finish, "completed")

    def error(self, api_error: ApiError, request_id: str) -> JsonObject:
        return openai.error(api_error)

    def error_event(self, api_error: ApiError, request_id: str) -> ServerSentEvent:
        code = "rate_limit_exceeded" if api_error.status == 429 else "server_error"
        return _event("error", code=code, message=api_error.message, param=None)

    def failed(self, answer: Answer, api_error: ApiError) -> JsonObject:
        error = {"code": "server_error", "message": api_error.message}
        return _response(answer, "failed") | {"error": error}

    def failed_event(self, answer: Answer, api_error: ApiError) -> ServerSentEvent:
        return _event("response.failed", response=self.failed(answer, api_error))

    def unknown_event(self) -> ServerSentEvent:
        return _event("response.llmstub_unknown", note="an event from a later version")


def counted(request: GenerationRequest) -> JsonObject:
    """Return the answer to a request that only counts tokens."""
    return {"object": "response.input_tokens", "input_tokens": request.input_tokens}


def _input(body: JsonFields) -> list[str]:
    if isinstance(body.raw.get("input"), str):
        return [body.text("input") or ""]
    items = body.children("input")
    if not items:
        raise RequestRefused(400, "input: at least one item is required", "input")
    texts: list[str] = []
    for item in items:
        if isinstance(item.raw.get("content"), str):
            texts.append(item.text("content") or "")
        else:
            parts = item.children("content")
            texts += [part.text("text") or "" for part in parts if part.text("type") in _TEXTS]
    return texts


def _text(answer: Answer, index: int) -> Iterator[ServerSentEvent]:
    item = _item(answer, "in_progress")
    item["content"] = []
    at: JsonObject = {"item_id": item["id"], "output_index": index, "content_index": 0}
    part: JsonObject = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    yield _event("response.output_item.added", output_index=index, item=item)
    yield _event("response.content_part.added", **at, part=part)
    for chunk in answer.reply.chunks:
        delta: JsonObject = {"type": "response.output_text.delta", **at}
        delta |= {"delta": chunk, "logprobs": []}
        yield ServerSentEvent(delta, event="response.output_text.delta", text=chunk)
    text = answer.reply.text
    yield _event("response.output_text.done", **at, text=text, logprobs=[])
    yield _event("response.content_part.done", **at, part=part | {"text": text})
    yield _event(
        "response.output_item.done", output_index=index, item=_item(answer, _status(answer))
    )


def _summary(answer: Answer) -> Iterator[ServerSentEvent]:
    text = answer.reply.reasoning
    if not text:
        return
    at: JsonObject = {"item_id": f"rs_{answer.id}", "output_index": 0, "summary_index": 0}
    part = {"type": "summary_text", "text": ""}
    yield _event("response.reasoning_summary_part.added", **at, part=part)
    yield _event("response.reasoning_summary_text.delta", **at, delta=text)
    yield _event("response.reasoning_summary_text.done", **at, text=text)
    yield _event("response.reasoning_summary_part.done", **at, part=part | {"text": text})


def _ended(answer: Answer) -> JsonObject:
    reply = answer.reply
    output: list[object] = [_reasoning(answer)] if reply.usage.reasoning else []
    if reply.chunks:
        output.append(_item(answer, _status(answer)))
    reason = _INCOMPLETE.get(reply.finish)
    return _response(answer, _status(answer)) | {
        "output": output,
        "incomplete_details": {"reason": reason} if reason else None,
        "usage": _usage(reply.usage),
        "completed_at": None if reason else answer.created,
    }


def _status(answer: Answer) -> str:
    return "incomplete" if answer.reply.finish in _INCOMPLETE else "completed"


def _response(answer: Answer, status: str) -> JsonObject:
    return {
        "id": f"resp_{answer.id}",
        "object": "response",
        "created_at": answer.created,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": answer.request.max_tokens,
        "metadata": {},
        "model": answer.request.model,
        "output": [],
        "parallel_tool_calls": True,
        "service_tier": "default",
        "store": False,
        "tool_choice": "auto",
        "tools": [],
        "usage": None,
    }


def _item(answer: Answer, status: str) -> JsonObject:
    text: JsonObject = {
        "type": "output_text",
        "text": answer.reply.text,
        "annotations": [],
        "logprobs": [],
    }
    return {
        "id": f"msg_{answer.id}",
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": [text],
    }


def _reasoning(answer: Answer, *, begun: bool = False) -> JsonObject:
    text = "" if begun else answer.reply.reasoning
    summary = [{"type": "summary_text", "text": text}] if text else []
    return {"id": f"rs_{answer.id}", "type": "reasoning", "summary": summary}


def _usage(usage: Usage) -> JsonObject:
    return {
        "input_tokens": usage.whole_input,
        "input_tokens_details": {
            "cached_tokens": usage.cache_read,
            "cache_write_tokens": usage.cache_write,
            "cache_write_tokens_details": {
                "ttl_30m_tokens": usage.cache_write_short,
                "ttl_12h_tokens": usage.cache_write_long,
            },
        },
        "output_tokens": usage.whole_output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.whole_input + usage.whole_output,
    }


def _event(event: str, **data: object) -> ServerSentEvent:
    return ServerSentEvent({"type": event, **data}, event=event)
