"""Reading a request of Claude's Messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmstub import tokens
from llmstub.domain import GenerationRequest, RequestRefused
from llmstub.formats import parameters, schema_rules
from llmstub.replies.schema_hints import with_hints
from llmstub.replies.schemas import as_object

if TYPE_CHECKING:
    from llmstub.domain import CachedPrefix, JsonObject
    from llmstub.json_fields import JsonFields

_WITHOUT_SAMPLING = "2026-10-21"  # from this version on, sampling parameters are refused
_ADAPTIVE = {"low": 64, "medium": 128, "high": 256, "xhigh": 384, "max": 512}
_NEWEST = ("opus-5-5", "sonnet-5-5")
_LEAST_BUDGET = 1024
_SHARE_OF_BUDGET = 8  # a small part of what may be thought is thought


def read(body: JsonFields, version: str, *, counts: bool) -> GenerationRequest:
    """Read a request for a reply, or for a count of tokens. Raises RequestRefused."""
    if not version:
        raise RequestRefused(400, "anthropic-version: header is required")
    older = version < _WITHOUT_SAMPLING
    known = parameters.CLAUDE.union(parameters.CLAUDE_SAMPLING if older else ())
    for name in body.raw.keys() - known:
        raise RequestRefused(400, f"{name}: Extra inputs are not permitted", name)
    body.one_of("service_tier", "auto", "standard_only")
    body.one_of("inference_geo", "global", "us")
    texts = [*_texts(body, "system"), *_messages(body)]
    prompt = "\n\n".join(texts)
    if not counts:
        body.required("max_tokens")
    body.required("model")
    _check_newest(body)
    max_tokens = body.integer("max_tokens")
    return GenerationRequest(
        model=body.text("model") or "",
        prompt=prompt,
        input_tokens=tokens.count(prompt),
        max_tokens=max_tokens,
        stream=body.flag("stream"),
        schema=_schema(body),
        reasoning_tokens=_reasoning(body, max_tokens),
        shows_reasoning=True,
        stops=body.texts("stop_sequences"),
        cached_prefix=_cached_prefix(body, prompt),
    )


def _texts(body: JsonFields, name: str) -> list[str]:
    if isinstance(body.raw.get(name), str | None):
        return [body.text(name) or ""] if body.raw.get(name) else []
    blocks = body.children(name)
    return [block.text("text") or "" for block in blocks if block.text("type") == "text"]


def _messages(body: JsonFields) -> list[str]:
    body.required("messages")
    messages = body.children("messages")
    if not messages:
        raise RequestRefused(400, "messages: at least one message is required", "messages")
    texts: list[str] = []
    for message in messages:
        if message.text("role") not in ("user", "assistant", "system"):
            raise RequestRefused(
                400, f"{message.path('role')}: unexpected role", message.path("role")
            )
        message.required("content")
        content_texts = _texts(message, "content")
        if any(not text.strip() for text in content_texts) or message.raw["content"] in ("", []):
            words = "text content blocks must contain non-whitespace text"
            raise RequestRefused(400, f"messages: {words}", message.path("content"))
        texts += content_texts
    return texts


def _check_newest(body: JsonFields) -> None:
    """Refuse what the models of 5.5 no longer take."""
    model = body.text("model") or ""
    messages, choice = body.children("messages"), body.child("tool_choice")
    if not model.endswith(_NEWEST):
        return
    if messages and messages[-1].text("role") == "assistant":
        words = "This model does not support assistant message prefill."
        raise RequestRefused(
            400, f"{words} The conversation must end with a user message.", "messages"
        )
    if choice is not None and choice.text("type") in ("any", "tool"):
        raise RequestRefused(
            400, "tool_choice forces tool use is not supported.", "tool_choice.type"
        )


def _schema(body: JsonFields) -> JsonObject | None:
    config = body.child("output_config")
    form = config.child("format") if config else None
    if form is None:
        return None
    if form.text("type") != "json_schema":
        raise RequestRefused(400, f"{form.path('type')}: expected json_schema", form.path("type"))
    schema = as_object(form.required("schema"))
    schema_rules.check_claude(schema)
    return as_object(with_hints(schema))


def _reasoning(body: JsonFields, max_tokens: int | None) -> int:
    thinking = body.child("thinking")
    kind = thinking.text("type") if thinking else None
    if kind in ("disabled", "enabled") and (body.text("model") or "").endswith(_NEWEST):
        raise RequestRefused(
            400, f"thinking.type.{kind}: not supported by this model", "thinking.type"
        )
    if thinking is None or kind in ("disabled", "between_tools"):
        return 0
    if kind == "adaptive":
        config = body.child("output_config")
        return _ADAPTIVE.get((config.text("effort") if config else None) or "high", 256)
    budget = thinking.integer("budget_tokens", _LEAST_BUDGET)
    if budget is None:
        raise RequestRefused(
            400, "thinking.budget_tokens: field required", "thinking.budget_tokens"
        )
    if max_tokens is not None and budget >= max_tokens:
        raise RequestRefused(
            400, "`max_tokens` must be greater than `thinking.budget_tokens`", "thinking"
        )
    return budget // _SHARE_OF_BUDGET


def _cached_prefix(body: JsonFields, prompt: str) -> CachedPrefix | None:
    """Return what the last cache_control marks: all before it, or all when the request has one."""
    control = body.child("cache_control")
    if control is not None:
        return tokens.cached_prefix(prompt, is_long=control.text("ttl") == "1h")
    marked: CachedPrefix | None = None
    before: list[str] = []
    for part in [body, *body.children("messages")]:
        name = "system" if part is body else "content"
        if isinstance(part.raw.get(name), list):
            for block in part.children(name):
                before.append(block.text("text") or "")
                control = block.child("cache_control")
                if control is not None:
                    is_long = control.text("ttl") == "1h"
                    marked = tokens.cached_prefix("\n\n".join(before), is_long=is_long)
        else:
            before += _texts(part, name)
    return marked
