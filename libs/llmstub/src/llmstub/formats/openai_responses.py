"""OpenAI Responses."""

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

_INCOMPLETE = {Finish.LENGTH: "max_output_tokens", Finish.FILTERED: "content_filter"}
_LEAST_OUTPUT = 16  # OpenAI refuses a smaller max_output_tokens
_TEXTS = ("input_text", "output_text", "text")


@dataclass(frozen=True, slots=True)
class OpenAiResponses:
    provider: Literal["openai"] = "openai"
    request_id_header: str = openai.REQUEST_ID_HEADER

    def key(self, headers: Mapping[str, str], query: Mapping[str, str]) -> str:
        return bearer(headers)

    def key_refused(self, key: str) -> Refused:
        return openai.key_refused(key)

    def ask(self, body: Fields, headers: Mapping[str, str], query: Mapping[str, str]) -> Ask:
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
        return Ask(
            model=model,
            prompt=prompt,
            input_tokens=tokens.count(prompt),
            max_tokens=body.integer("max_output_tokens", _LEAST_OUTPUT),
            stream=body.flag("stream"),
            schema=openai.schema(text.child("format") if text else None),
            reasoning_tokens=openai.reasoning_tokens(model, effort, "reasoning.effort"),
            shows_reasoning=bool(reasoning and reasoning.text("summary")),
            caching=tokens.caching(prompt, is_long=is_long) if cache_key else None,
        )

    def whole(self, answer: Answer) -> JsonObject:
        return _ended(answer)

    def frames(self, answer: Answer) -> Iterator[Frame]:
        reply = answer.reply
        started = _response(answer, "in_progress")
        yield _frame("response.created", response=started)
        yield _frame("response.in_progress", response=started)
        index = 0
        if reply.usage.reasoning:
            item = _reasoning(answer)
            yield _frame(
                "response.output_item.added", output_index=0, item=_reasoning(answer, begun=True)
            )
            yield from _summary(answer)
            yield _frame("response.output_item.done", output_index=0, item=item)
            index = 1
        if reply.pieces:
            yield from _text(answer, index)
        ended = _ended(answer)
        yield _frame(f"response.{ended['status']}", response=ended)

    def encode(self, frame: Frame, index: int) -> bytes:
        if isinstance(frame.data, str):
            return server_sent(frame, frame.data)
        return server_sent(frame, frame.data | {"sequence_number": index})

    def finish_reason(self, reply: Reply) -> str:
        return _INCOMPLETE.get(reply.finish, "completed")

    def error(self, problem: Problem, request_id: str) -> JsonObject:
        return openai.error(problem)

    def error_frame(self, problem: Problem, request_id: str) -> Frame:
        code = "rate_limit_exceeded" if problem.status == 429 else "server_error"
        return _frame("error", code=code, message=problem.message, param=None)

    def failed(self, answer: Answer, problem: Problem) -> JsonObject:
        error = {"code": "server_error", "message": problem.message}
        return _response(answer, "failed") | {"error": error}

    def failed_frame(self, answer: Answer, problem: Problem) -> Frame:
        return _frame("response.failed", response=self.failed(answer, problem))

    def unknown_frame(self) -> Frame:
        return _frame("response.llmstub_unknown", note="an event from a later version")


def counted(ask: Ask) -> JsonObject:
    """Return the answer to a request that only counts tokens."""
    return {"object": "response.input_tokens", "input_tokens": ask.input_tokens}


def _input(body: Fields) -> list[str]:
    if isinstance(body.raw.get("input"), str):
        return [body.text("input") or ""]
    items = body.children("input")
    if not items:
        raise Refused(400, "input: at least one item is required", "input")
    texts: list[str] = []
    for item in items:
        if isinstance(item.raw.get("content"), str):
            texts.append(item.text("content") or "")
        else:
            parts = item.children("content")
            texts += [part.text("text") or "" for part in parts if part.text("type") in _TEXTS]
    return texts


def _text(answer: Answer, index: int) -> Iterator[Frame]:
    item = _item(answer, "in_progress")
    item["content"] = []
    at: JsonObject = {"item_id": item["id"], "output_index": index, "content_index": 0}
    part: JsonObject = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    yield _frame("response.output_item.added", output_index=index, item=item)
    yield _frame("response.content_part.added", **at, part=part)
    for piece in answer.reply.pieces:
        delta: JsonObject = {"type": "response.output_text.delta", **at}
        delta |= {"delta": piece, "logprobs": []}
        yield Frame(delta, event="response.output_text.delta", text=piece)
    text = answer.reply.text
    yield _frame("response.output_text.done", **at, text=text, logprobs=[])
    yield _frame("response.content_part.done", **at, part=part | {"text": text})
    yield _frame(
        "response.output_item.done", output_index=index, item=_item(answer, _status(answer))
    )


def _summary(answer: Answer) -> Iterator[Frame]:
    text = answer.reply.reasoning
    if not text:
        return
    at: JsonObject = {"item_id": f"rs_{answer.id}", "output_index": 0, "summary_index": 0}
    part = {"type": "summary_text", "text": ""}
    yield _frame("response.reasoning_summary_part.added", **at, part=part)
    yield _frame("response.reasoning_summary_text.delta", **at, delta=text)
    yield _frame("response.reasoning_summary_text.done", **at, text=text)
    yield _frame("response.reasoning_summary_part.done", **at, part=part | {"text": text})


def _ended(answer: Answer) -> JsonObject:
    reply = answer.reply
    output: list[object] = [_reasoning(answer)] if reply.usage.reasoning else []
    if reply.pieces:
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
        "max_output_tokens": answer.ask.max_tokens,
        "metadata": {},
        "model": answer.ask.model,
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


def _frame(event: str, **data: object) -> Frame:
    return Frame({"type": event, **data}, event=event)
