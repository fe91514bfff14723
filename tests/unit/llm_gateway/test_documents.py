"""JSON values, the pointers into them, and text that can be written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.domain.documents import (
    Json,
    NothingThere,
    NotJson,
    at,
    canonical,
    parse,
    scalar_text,
)

# The examples of RFC 6901, section 5.
DOCUMENT: Json = {
    "foo": ["bar", "baz"],
    "": 0,
    "a/b": 1,
    "c%d": 2,
    "e^f": 3,
    "g|h": 4,
    "i\\j": 5,
    'k"l': 6,
    " ": 7,
    "m~n": 8,
}


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("", DOCUMENT),
        ("/foo", ["bar", "baz"]),
        ("/foo/0", "bar"),
        ("/", 0),
        ("/a~1b", 1),
        ("/c%d", 2),
        ("/e^f", 3),
        ("/g|h", 4),
        ("/i\\j", 5),
        ('/k"l', 6),
        ("/ ", 7),
        ("/m~0n", 8),
    ],
)
def test_a_pointer_leads_where_the_standard_says(pointer: str, value: Json) -> None:
    assert at(DOCUMENT, pointer) == value


@pytest.mark.parametrize("pointer", ["/foo/2", "/foo/-", "/foo/00", "/foo/1e0", "/bar", "/foo/0/x"])
def test_a_pointer_to_nothing_leads_nowhere(pointer: str) -> None:
    with pytest.raises(NothingThere):
        at(DOCUMENT, pointer)


def test_a_tilde_is_unescaped_last() -> None:
    assert at({"~1": 1}, "/~01") == 1


@pytest.mark.parametrize("text", ["NaN", "-Infinity", '{"a": NaN}', "", "{", "[" * 100_000])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(NotJson):
        parse(text)


def test_equal_values_are_written_alike() -> None:
    assert canonical({"b": 1, "a": [True, None]}) == canonical({"a": [True, None], "b": 1})


@given(st.text(st.characters(codec=None), max_size=20))
def test_every_text_can_be_written_once_its_surrogates_are_settled(text: str) -> None:
    settled = scalar_text(text)

    assert settled.encode().decode() == settled
    if not any("\ud800" <= character <= "\udfff" for character in text):
        assert settled == text


def test_a_pair_of_surrogates_is_one_character() -> None:
    assert scalar_text("\ud83e\udda9") == "🦩"
