"""Server-sent events, however their bytes are cut."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.providers.sse import EventParser, EventTooLong

STREAM = (
    '\ufeff: a comment\n\nevent: delta\ndata: {"text": "鶴🦩"}\n\n'
    "data: one\rdata: two\r\rid: 7\nretry: 5\ndata:  kept space\r\n\r\n"
    "event: empty\n\ndata\n\nunknown: x\ndata: [DONE]\n\ndata: cut off"
)
EVENTS = [
    ("delta", '{"text": "鶴🦩"}'),
    ("", "one\ntwo"),
    ("", " kept space"),
    ("", ""),
    ("", "[DONE]"),
    ("", "cut off"),
]


def read(*pieces: bytes) -> list[tuple[str, str]]:
    parser = EventParser()
    events = [event for piece in pieces for event in parser.feed(piece)]
    return [(event.name, event.data.decode()) for event in (*events, *parser.finish())]


@given(st.lists(st.integers(0, len(STREAM.encode()))))
def test_however_a_stream_is_cut_its_events_are_the_same(cuts: list[int]) -> None:
    raw = STREAM.encode()
    edges = sorted({0, len(raw), *cuts})

    assert read(*(raw[a:b] for a, b in itertools.pairwise(edges))) == EVENTS


def test_an_event_is_yielded_when_its_empty_line_comes() -> None:
    parser = EventParser()

    assert list(parser.feed(b"data: x\n")) == []
    assert list(parser.feed(b"\n")) == [("", b"x")]


def test_an_event_without_end_is_given_up() -> None:
    parser = EventParser()

    pieces = (b"x" * (1 << 20) for _ in range(40))

    with pytest.raises(EventTooLong):
        list(itertools.chain.from_iterable(map(parser.feed, pieces)))
