from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifacts.domain.pointers import Document
from artifacts.errors import PointerInvalid

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip

RFC_6901 = {
    "": None,
    "/foo": ["bar", "baz"],
    "/foo/0": "bar",
    "/": 0,
    "/a~1b": 1,
    "/c%d": 2,
    "/e^f": 3,
    "/g|h": 4,
    "/i\\j": 5,
    '/k"l': 6,
    "/ ": 7,
    "/m~0n": 8,
}
RFC_DOCUMENT = {
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


@pytest.mark.parametrize("pointer", RFC_6901)
def test_the_examples_of_rfc_6901_hold(pointer: str) -> None:
    value = Document(json.dumps(RFC_DOCUMENT).encode()).value(pointer)

    assert json.loads(value) == (RFC_6901[pointer] if pointer else RFC_DOCUMENT)


@settings(deadline=None)  # the machine may be busy
@given(values)
def test_a_value_stays_the_same_value_and_gets_no_longer(value: object) -> None:
    spacious = json.dumps({"x": [value]}, indent=3, ensure_ascii=True).encode()
    shortest = Document(spacious).value("/x/0")

    assert json.loads(shortest) == value
    assert len(shortest) <= len(json.dumps(value, ensure_ascii=True))


@pytest.mark.parametrize(
    "number",
    ["1.0", "1.10", "1e400", "-0", "-0.0", "1E+2", "0.1e-7", "12345678901234567890", "9" * 5000],
)
def test_a_number_is_kept_to_the_letter(number: str) -> None:
    document = Document(f'{{"a": [ {number} , "é" ]}}'.encode())

    assert document.value("/a/0") == number.encode()
    assert document.value("/a") == f'[{number},"é"]'.encode()


def test_members_keep_their_order_and_the_last_of_one_name_counts() -> None:
    assert Document(b'{"b": 1, "a": 2, "b": 3}').value("") == b'{"b":3,"a":2}'


def test_strings_are_text_with_the_escapes_that_json_demands() -> None:
    document = Document(rb'["\u304a\u8336 \u0041\/", "\"\\\n\u0001", "\ud83c\udf75", "\ud800"]')

    assert document.value("/0") == '"お茶 A/"'.encode()
    assert document.value("/1") == rb'"\"\\\n\u0001"'
    assert document.value("/2") == '"🍵"'.encode()
    assert document.value("/3") == rb'"\ud800"', "half a pair can only be escaped"


@pytest.mark.parametrize(
    "pointer", ["a", "/x", "/a/01", "/a/-", "/a/+1", "/a/3", "/a~", "/a~2", "/s/0"]
)
def test_a_pointer_to_nothing_is_refused(pointer: str) -> None:
    with pytest.raises(PointerInvalid) as refused:
        Document(b'{"a": [1, 2, 3], "s": "text"}').value(pointer)
    assert refused.value.metadata["json_pointer"] == pointer


@pytest.mark.parametrize(
    "body",
    [b"", b"tea", b"\xff", b"\xef\xbb\xbf{}", b'{"a":1}x', b"NaN", b"[-Infinity]", b"[" * 10**6],
)
def test_what_is_no_json_has_no_values(body: bytes) -> None:
    with pytest.raises(PointerInvalid):
        Document(body).value("")
