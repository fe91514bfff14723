"""JSON pointers, by RFC 6901."""

from __future__ import annotations

import pytest

from jsonvalues import Json, NothingThere, PointerMalformed, at

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


FULL_WIDTH_ONE, ARABIC_NOUGHT = "\uff11", "\u0660"


@pytest.mark.parametrize(
    "index",
    ["2", "-", "00", "01", "+1", "-1", "1e0", "1_0", "1.0", " 1", "", FULL_WIDTH_ONE, ARABIC_NOUGHT,
     "9" * 20, "9" * 5000],
)  # fmt: skip
def test_what_is_no_index_leads_nowhere_in_a_list(index: str) -> None:
    with pytest.raises(NothingThere):
        at(["a", "b"], f"/{index}")


@pytest.mark.parametrize("index", ["01", "-", FULL_WIDTH_ONE, "0"])
def test_every_text_may_be_a_name_in_an_object(index: str) -> None:
    assert at({index: "found"}, f"/{index}") == "found"


@pytest.mark.parametrize("pointer", ["/bar", "/foo/0/0", "/foo/0/x", "//", "/a"])
def test_a_pointer_to_nothing_leads_nowhere(pointer: str) -> None:
    with pytest.raises(NothingThere):
        at(DOCUMENT, pointer)


@pytest.mark.parametrize("pointer", ["foo", "/m~n", "/m~", "/m~2n", "#/foo"])
def test_what_is_no_pointer_is_reported_as_such(pointer: str) -> None:
    with pytest.raises(PointerMalformed):
        at(DOCUMENT, pointer)


def test_a_tilde_is_unescaped_last() -> None:
    assert at({"~1": 1}, "/~01") == 1
