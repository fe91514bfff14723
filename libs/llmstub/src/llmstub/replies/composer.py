"""From a request to the reply: what is said, where it is cut, in which pieces, at what cost."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import TYPE_CHECKING

from llmstub import tokens
from llmstub.domain import Finish, Reply, Usage
from llmstub.replies.brief import Brief
from llmstub.replies.phrases import Phrases
from llmstub.replies.prose import write
from llmstub.replies.schema_instance import instance

if TYPE_CHECKING:
    from llmstub.domain import Ask, JsonObject, Provider

_TARGET = 500  # tokens of visible text when the caller sets no limit
_LEAST, _MOST, _MOST_ASKED = 120, 700, 4_000
_PIECE = (12, 36)  # characters that one event of a stream carries
_MOST_PIECES = 4_000
_LONGEST_REASONING = 200  # tokens of the reasoning that is shown
_TRANSPORT = frozenset({"stream", "stream_options"})


@dataclass(frozen=True, slots=True)
class Shape:
    """What a scripted rule changes about a reply; None leaves it to the composer."""

    text: str | None = None
    finish: Finish | None = None
    reasoning_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    pieces: int | None = None
    least_bytes: int = 0  # above 0, the reply ignores the caller's limit
    repeats: int = 0


PLAIN = Shape()


def draw(seed: int, provider: Provider, model: str, body: JsonObject) -> Random:
    """Return the randomness of one request; streamed or not, it is the same."""
    asked = {name: value for name, value in body.items() if name not in _TRANSPORT}
    canonical = json.dumps([seed, provider, model, asked], sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(canonical.encode()).digest()
    return Random(digest)  # noqa: S311 - replies are to be repeatable, not secret


def compose(ask: Ask, random: Random, shape: Shape = PLAIN) -> Reply:
    """Return what the model says. Raises Refused(400) for a schema that it cannot satisfy."""
    phrases = Phrases(Brief.read(ask.prompt), random)
    reasoning_tokens = _reasoning_tokens(ask, shape)
    text = _text(ask, phrases, shape)
    text, stop = _stopped(text, ask.stops)
    finish = Finish.STOP_SEQUENCE if stop is not None else Finish.STOP
    if ask.max_tokens is not None and not shape.least_bytes:
        room = ask.max_tokens - reasoning_tokens
        if tokens.count(text) > room:
            text, stop, finish = tokens.cut(text, room), None, Finish.LENGTH
    pieces = _repeated(_pieces(text, shape.pieces, random), shape.repeats)
    shown = min(reasoning_tokens, _LONGEST_REASONING) if ask.shows_reasoning else 0
    return Reply(
        pieces=pieces,
        reasoning=tokens.cut(phrases.paragraph(shown), shown) if shown else "",
        finish=shape.finish or finish,
        stop=stop,
        usage=_usage(ask, shape, tokens.count("".join(pieces)), reasoning_tokens),
    )


def _text(ask: Ask, phrases: Phrases, shape: Shape) -> str:
    target = _target(ask, phrases.brief)
    if shape.text is not None:
        return shape.text
    if shape.least_bytes:
        page = write(phrases, _MOST, None)
        return page * -(-shape.least_bytes // len(page.encode()))
    if ask.schema is not None:
        return json.dumps(instance(ask.schema, phrases, target), ensure_ascii=False)
    return write(phrases, target, ask.max_tokens)


def _target(ask: Ask, brief: Brief) -> int:
    if brief.tokens_wanted is not None:
        return max(1, min(_MOST_ASKED, brief.tokens_wanted))
    if ask.max_tokens is None:
        return _TARGET
    return max(_LEAST, min(_MOST, ask.max_tokens // 4))


def _reasoning_tokens(ask: Ask, shape: Shape) -> int:
    """Reasoning takes at most half of the limit, unless a script says otherwise."""
    if ask.max_tokens is None:
        return ask.reasoning_tokens if shape.reasoning_tokens is None else shape.reasoning_tokens
    if shape.reasoning_tokens is None:
        return min(ask.reasoning_tokens, ask.max_tokens // 2)
    return min(shape.reasoning_tokens, ask.max_tokens)


def _stopped(text: str, stops: tuple[str, ...]) -> tuple[str, str | None]:
    found = [(text.find(stop), stop) for stop in stops if stop and stop in text]
    if not found:
        return text, None
    position, stop = min(found)
    return text[:position], stop


def _pieces(text: str, wanted: int | None, random: Random) -> tuple[str, ...]:
    if wanted is not None:
        ends = [len(text) * n // wanted for n in range(wanted + 1)]
        return tuple(text[a:b] for a, b in pairwise(ends) if a < b)
    least = len(text) // _MOST_PIECES
    pieces: list[str] = []
    position = 0
    while position < len(text):
        size = max(least, random.randint(*_PIECE))
        pieces.append(text[position : position + size])
        position += size
    return tuple(pieces)


def _repeated(pieces: tuple[str, ...], times: int) -> tuple[str, ...]:
    middle = len(pieces) // 2
    return (*pieces[:middle], *pieces[middle : middle + 1] * times, *pieces[middle:])


def _usage(ask: Ask, shape: Shape, output: int, reasoning: int) -> Usage:
    caching = ask.caching
    cached = min(caching.tokens, ask.input_tokens) if caching else 0
    read = cached if caching and caching.is_hit else 0
    short = cached if caching and not caching.is_hit and not caching.is_long else 0
    long = cached - read - short
    if shape.cached_tokens is not None or shape.cache_write_tokens is not None:
        read = min(shape.cached_tokens or 0, ask.input_tokens)
        short = min(shape.cache_write_tokens or 0, ask.input_tokens - read)
        long = 0
    fresh = ask.input_tokens - read - short - long
    return Usage(fresh, read, short, long, output, reasoning)
