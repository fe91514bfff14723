"""The composition of a reply: its text, where it is cut, its chunks and its usage."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import TYPE_CHECKING

from llmstub import tokens
from llmstub.domain import FinishReason, Reply, Usage
from llmstub.replies.prompts import RecognizedPrompt
from llmstub.replies.prose import write
from llmstub.replies.recordings import article_for
from llmstub.replies.schema_sampler import sample

if TYPE_CHECKING:
    from llmstub.domain import GenerationRequest, JsonObject, Provider
    from llmstub.replies.recordings import RecordedArticle

_TARGET = 500  # tokens of visible text when the caller sets no limit
_LEAST, _MOST, _MOST_ASKED = 120, 700, 4_000
_CHUNK = (12, 36)  # characters that one event of a stream carries
_MOST_CHUNKS = 4_000
_LONGEST_REASONING = 200  # tokens of the reasoning that is shown
_TRANSPORT = frozenset({"stream", "stream_options"})
_ANY_OBJECT: JsonObject = {
    "type": "object",
    "properties": {
        "title": {"type": "string"},
        "summary": {"type": "string"},
        "points": {"type": "array", "items": {"type": "string"}},
    },
}


@dataclass(frozen=True, slots=True)
class ReplyOverrides:
    """What a scripted rule changes about a reply; None leaves it to the composer."""

    text: str | None = None
    finish: FinishReason | None = None
    reasoning_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    chunks: int | None = None
    least_bytes: int = 0  # above 0, the reply ignores the caller's limit
    repeats: int = 0


NO_OVERRIDES = ReplyOverrides()


def seeded_random(seed: int, provider: Provider, model: str, body: JsonObject) -> Random:
    """Return the randomness of one request; streamed or not, it is the same."""
    asked = {name: value for name, value in body.items() if name not in _TRANSPORT}
    canonical = json.dumps([seed, provider, model, asked], sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(canonical.encode()).digest()
    return Random(digest)  # noqa: S311 - replies are to be repeatable, not secret


def compose(
    request: GenerationRequest, random: Random, overrides: ReplyOverrides = NO_OVERRIDES
) -> Reply:
    """Return the reply to a request. Raises RequestRefused for a schema it cannot satisfy."""
    facts = RecognizedPrompt.read(request.prompt)
    recorded = article_for(facts, random)
    reasoning_tokens = _reasoning_tokens(request, overrides)
    text = _text(request, facts, recorded, random, overrides)
    text, stop = _stopped(text, request.stops)
    finish = FinishReason.STOP_SEQUENCE if stop is not None else FinishReason.STOP
    if request.max_tokens is not None and not overrides.least_bytes:
        room = request.max_tokens - reasoning_tokens
        if tokens.count(text) > room:
            text, stop, finish = tokens.cut(text, room), None, FinishReason.LENGTH
    chunks = _repeated(_chunks(text, overrides.chunks, random), overrides.repeats)
    shown = min(reasoning_tokens, _LONGEST_REASONING) if request.shows_reasoning else 0
    return Reply(
        chunks=chunks,
        reasoning=tokens.cut(recorded.excerpt(shown), shown) if shown else "",
        finish=overrides.finish or finish,
        stop=stop,
        usage=_usage(request, overrides, tokens.count("".join(chunks)), reasoning_tokens),
    )


def _text(
    request: GenerationRequest,
    facts: RecognizedPrompt,
    recorded: RecordedArticle,
    random: Random,
    overrides: ReplyOverrides,
) -> str:
    target = _target(request, facts)
    if overrides.text is not None:
        return overrides.text
    if overrides.least_bytes:
        page = write(facts, recorded, _MOST, None)
        return page * -(-overrides.least_bytes // len(page.encode()))
    if request.schema is not None:
        schema = request.schema or _ANY_OBJECT
        value = sample(schema, facts, recorded, random, target)
        return json.dumps(value, ensure_ascii=False)
    return write(facts, recorded, target, request.max_tokens)


def _target(request: GenerationRequest, facts: RecognizedPrompt) -> int:
    if facts.tokens_wanted is not None:
        return max(1, min(_MOST_ASKED, facts.tokens_wanted))
    if request.max_tokens is None:
        return _TARGET
    return max(_LEAST, min(_MOST, request.max_tokens // 4))


def _reasoning_tokens(request: GenerationRequest, overrides: ReplyOverrides) -> int:
    """Reasoning takes at most half of the limit, unless a script says otherwise."""
    if request.max_tokens is None:
        return (
            request.reasoning_tokens
            if overrides.reasoning_tokens is None
            else overrides.reasoning_tokens
        )
    if overrides.reasoning_tokens is None:
        return min(request.reasoning_tokens, request.max_tokens // 2)
    return min(overrides.reasoning_tokens, request.max_tokens)


def _stopped(text: str, stops: tuple[str, ...]) -> tuple[str, str | None]:
    found = [(text.find(stop), stop) for stop in stops if stop and stop in text]
    if not found:
        return text, None
    position, stop = min(found)
    return text[:position], stop


def _chunks(text: str, wanted: int | None, random: Random) -> tuple[str, ...]:
    if wanted is not None:
        ends = [len(text) * n // wanted for n in range(wanted + 1)]
        return tuple(text[a:b] for a, b in pairwise(ends) if a < b)
    least = len(text) // _MOST_CHUNKS
    chunks: list[str] = []
    position = 0
    while position < len(text):
        size = max(least, random.randint(*_CHUNK))
        chunks.append(text[position : position + size])
        position += size
    return tuple(chunks)


def _repeated(chunks: tuple[str, ...], times: int) -> tuple[str, ...]:
    middle = len(chunks) // 2
    return (*chunks[:middle], *chunks[middle : middle + 1] * times, *chunks[middle:])


def _usage(
    request: GenerationRequest, overrides: ReplyOverrides, output: int, reasoning: int
) -> Usage:
    cached_prefix = request.cached_prefix
    cached = min(cached_prefix.tokens, request.input_tokens) if cached_prefix else 0
    read = cached if cached_prefix and cached_prefix.is_hit else 0
    short = (
        cached if cached_prefix and not cached_prefix.is_hit and not cached_prefix.is_long else 0
    )
    long = cached - read - short
    if overrides.cached_tokens is not None or overrides.cache_write_tokens is not None:
        read = min(overrides.cached_tokens or 0, request.input_tokens)
        short = min(overrides.cache_write_tokens or 0, request.input_tokens - read)
        long = 0
    fresh = request.input_tokens - read - short - long
    return Usage(fresh, read, short, long, output, reasoning)
