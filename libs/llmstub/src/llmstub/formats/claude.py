"""Claude Messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from llmstub import tokens
from llmstub.domain import Ask, Finish, Refused
from llmstub.formats import parameters, schema_rules
from llmstub.formats.wire_format import Frame, bearer, server_sent
from llmstub.replies.schema import as_object
from llmstub.replies.told_schemas import with_hints

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from llmstub.domain import Answer, Caching, JsonObject, Problem, Reply, Usage
    from llmstub.fields import Fields

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
    Finish.STOP: "end_turn",
    Finish.LENGTH: "max_tokens",
    Finish.STOP_SEQUENCE: "stop_sequence",
    Finish.FILTERED: "refusal",
}
_WITHOUT_SAMPLING = "2026-10-21"  # from this version on, sampling parameters are refused
_ADAPTIVE = {"low": 64, "medium": 128, "high": 256, "xhigh": 384, "max": 512}
_NEWEST = ("opus-5-5", "sonnet-5-5")
_LEAST_BUDGET = 1024
_SHARE_OF_BUDGET = 8  # a small part of what may be thought is thought


@dataclass(frozen=True, slots=True)
class ClaudeMessages:
    counts: bool = False  # POST …/count_tokens
    provider: Literal["claude"] = "claude"
    request_id_header: str = "request-id"

    def key(self, headers: Mapping[str, str], query: Mapping[str, str]) -> str:
        return headers.get("x-api-key", "") or bearer(headers)

    def key_refused(self, key: str) -> Refused:
        return Refused(401, "invalid x-api-key" if key else "x-api-key header is required")

    def ask(self, body: Fields, headers: Mapping[str, str], query: Mapping[str, str]) -> Ask:
        version = headers.get("anthropic-version", "")
        if not version:
            raise Refused(400, "anthropic-version: header is required")
        older = version < _WITHOUT_SAMPLING
        known = parameters.CLAUDE.union(parameters.CLAUDE_SAMPLING if older else ())
        for name in body.raw.keys() - known:
            raise Refused(400, f"{name}: Extra inputs are not permitted", name)
        body.one_of("service_tier", "auto", "standard_only")
        body.one_of("inference_geo", "global", "us")
        texts = [*_texts(body, "system"), *_messages(body)]
        prompt = "\n\n".join(texts)
        if not self.counts:
            body.required("max_tokens")
        body.required("model")
        _check_newest(body)
        max_tokens = body.integer("max_tokens")
        return Ask(
            model=body.text("model") or "",
            prompt=prompt,
            input_tokens=tokens.count(prompt),
            max_tokens=max_tokens,
            stream=body.flag("stream"),
            schema=_schema(body),
            reasoning_tokens=_reasoning(body, max_tokens),
            shows_reasoning=True,
            stops=body.texts("stop_sequences"),
            caching=_caching(body, prompt),
        )

    def whole(self, answer: Answer) -> JsonObject:
        reply = answer.reply
        content: list[object] = []
        if reply.reasoning:
            content.append(_thinking(answer, reply.reasoning, _signature(answer)))
        if reply.pieces:
            content.append({"type": "text", "text": reply.text})
        return (
            _message(answer) | _ending(reply) | {"content": content, "usage": _usage(reply.usage)}
        )

    def frames(self, answer: Answer) -> Iterator[Frame]:
        reply = answer.reply
        usage = _usage(reply.usage) | {"output_tokens": min(1, reply.usage.whole_output)}
        started = _message(answer) | {"stop_reason": None, "stop_sequence": None, "usage": usage}
        yield _frame("message_start", message=started)
        yield _frame("ping")
        index = 0
        if reply.reasoning:
            yield _frame("content_block_start", index=0, content_block=_thinking(answer, "", ""))
            yield _delta(0, "thinking_delta", "thinking", reply.reasoning)
            yield _delta(0, "signature_delta", "signature", _signature(answer))
            yield _frame("content_block_stop", index=0)
            index = 1
        if reply.pieces:
            block = {"type": "text", "text": ""}
            yield _frame("content_block_start", index=index, content_block=block)
            for piece in reply.pieces:
                yield _delta(index, "text_delta", "text", piece)
            yield _frame("content_block_stop", index=index)
        yield _frame("message_delta", delta=_ending(reply), usage=_cumulative(reply.usage))
        yield _frame("message_stop")

    def encode(self, frame: Frame, index: int) -> bytes:
        return server_sent(frame, frame.data)

    def finish_reason(self, reply: Reply) -> str:
        return _FINISHES[reply.finish]

    def error(self, problem: Problem, request_id: str) -> JsonObject:
        default = "invalid_request_error" if problem.status < 500 else "api_error"
        error: JsonObject = {
            "type": _ERRORS.get(problem.status, default),
            "message": problem.message,
        }
        if problem.spend_limit:
            error["details"] = {"error_code": "enforced_spend_limit_reached"}
        return {"type": "error", "error": error, "request_id": request_id}

    def error_frame(self, problem: Problem, request_id: str) -> Frame:
        return Frame(self.error(problem, request_id), event="error")

    def failed(self, answer: Answer, problem: Problem) -> JsonObject:
        return self.error(problem, f"req_{answer.id}")

    def failed_frame(self, answer: Answer, problem: Problem) -> Frame:
        return self.error_frame(problem, f"req_{answer.id}")

    def unknown_frame(self) -> Frame:
        return _frame("llmstub_unknown", note="an event from a later version")


def counted(ask: Ask) -> JsonObject:
    """Return the answer to a request that only counts tokens."""
    return {"input_tokens": ask.input_tokens}


def _texts(body: Fields, name: str) -> list[str]:
    if isinstance(body.raw.get(name), str | None):
        return [body.text(name) or ""] if body.raw.get(name) else []
    blocks = body.children(name)
    return [block.text("text") or "" for block in blocks if block.text("type") == "text"]


def _messages(body: Fields) -> list[str]:
    body.required("messages")
    messages = body.children("messages")
    if not messages:
        raise Refused(400, "messages: at least one message is required", "messages")
    texts: list[str] = []
    for message in messages:
        if message.text("role") not in ("user", "assistant", "system"):
            raise Refused(400, f"{message.path('role')}: unexpected role", message.path("role"))
        message.required("content")
        said = _texts(message, "content")
        if any(not text.strip() for text in said) or message.raw["content"] in ("", []):
            words = "text content blocks must contain non-whitespace text"
            raise Refused(400, f"messages: {words}", message.path("content"))
        texts += said
    return texts


def _check_newest(body: Fields) -> None:
    """Refuse what the models of 5.5 no longer take."""
    model = body.text("model") or ""
    messages, choice = body.children("messages"), body.child("tool_choice")
    if not model.endswith(_NEWEST):
        return
    if messages and messages[-1].text("role") == "assistant":
        words = "This model does not support assistant message prefill."
        raise Refused(400, f"{words} The conversation must end with a user message.", "messages")
    if choice is not None and choice.text("type") in ("any", "tool"):
        raise Refused(400, "tool_choice forces tool use is not supported.", "tool_choice.type")


def _schema(body: Fields) -> JsonObject | None:
    config = body.child("output_config")
    form = config.child("format") if config else None
    if form is None:
        return None
    if form.text("type") != "json_schema":
        raise Refused(400, f"{form.path('type')}: expected json_schema", form.path("type"))
    schema = as_object(form.required("schema"))
    schema_rules.check_claude(schema)
    return as_object(with_hints(schema))


def _reasoning(body: Fields, max_tokens: int | None) -> int:
    thinking = body.child("thinking")
    kind = thinking.text("type") if thinking else None
    if kind in ("disabled", "enabled") and (body.text("model") or "").endswith(_NEWEST):
        raise Refused(400, f"thinking.type.{kind}: not supported by this model", "thinking.type")
    if thinking is None or kind in ("disabled", "between_tools"):
        return 0
    if kind == "adaptive":
        config = body.child("output_config")
        return _ADAPTIVE.get((config.text("effort") if config else None) or "high", 256)
    budget = thinking.integer("budget_tokens", _LEAST_BUDGET)
    if budget is None:
        raise Refused(400, "thinking.budget_tokens: field required", "thinking.budget_tokens")
    if max_tokens is not None and budget >= max_tokens:
        raise Refused(400, "`max_tokens` must be greater than `thinking.budget_tokens`", "thinking")
    return budget // _SHARE_OF_BUDGET


def _caching(body: Fields, prompt: str) -> Caching | None:
    """Return what the last cache_control marks: all before it, or all when the request has one."""
    control = body.child("cache_control")
    if control is not None:
        return tokens.caching(prompt, is_long=control.text("ttl") == "1h")
    marked: Caching | None = None
    before: list[str] = []
    for part in [body, *body.children("messages")]:
        name = "system" if part is body else "content"
        if isinstance(part.raw.get(name), list):
            for block in part.children(name):
                before.append(block.text("text") or "")
                control = block.child("cache_control")
                if control is not None:
                    is_long = control.text("ttl") == "1h"
                    marked = tokens.caching("\n\n".join(before), is_long=is_long)
        else:
            before += _texts(part, name)
    return marked


def _message(answer: Answer) -> JsonObject:
    return {
        "id": f"msg_{answer.id}",
        "type": "message",
        "role": "assistant",
        "model": answer.ask.model,
        "content": [],
    }


def _ending(reply: Reply) -> JsonObject:
    ending: JsonObject = {"stop_reason": _FINISHES[reply.finish], "stop_sequence": reply.stop}
    if reply.finish is Finish.FILTERED:
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


def _frame(event: str, **data: object) -> Frame:
    return Frame({"type": event, **data}, event=event)


def _delta(index: int, kind: str, name: str, text: str) -> Frame:
    data: JsonObject = {
        "type": "content_block_delta",
        "index": index,
        "delta": {"type": kind, name: text},
    }
    return Frame(data, event="content_block_delta", text=text if kind == "text_delta" else "")
