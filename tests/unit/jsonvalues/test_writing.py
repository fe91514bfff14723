"""Writing JSON values."""

from __future__ import annotations

import copy
import json
import math
import pickle
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jsonvalues import JsonValue, NotJson, Number, canonical, compact, parse

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip

NUMBERS = [
    "1.0", "1.10", "19.90", "1E2", "1e400", "-0", "-0.0", "1E+2", "0.1e-7", "7.6", "0",
    "3544790567247868102", "9007199254740993", "12345678901234567890123", "9" * 640, "9" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("number", NUMBERS)
def test_a_number_is_kept_to_the_letter(number: str) -> None:
    value = parse(f'{{"b": [ {number} , "é" ], "a": {number}}}')

    assert compact(value) == f'{{"b":[{number},"é"],"a":{number}}}'
    assert canonical(value) == f'{{"a":{number},"b":[{number},"é"]}}'.encode()
    assert canonical(value, ascii_only=True).decode() == (
        f'{{"a":{number},"b":[{number},"\\u00e9"]}}'
    )


@pytest.mark.parametrize("number", NUMBERS)
def test_a_number_is_kept_by_what_copies_values_and_sends_them_to_other_processes(
    number: str,
) -> None:
    value = parse(f"[{number}]")

    for other in (copy.deepcopy(value), cast("JsonValue", pickle.loads(pickle.dumps(value)))):  # noqa: S301 - ours
        assert compact(other) == f"[{number}]"


def test_a_number_calculates_as_what_it_says() -> None:
    price = parse("19.90")

    assert isinstance(price, Number)
    assert price * 2 == 39.8
    assert parse("-0") == 0
    assert parse("1E2") == 100
    assert parse("12345678901234567890123") == 12345678901234567890123


@given(values)
def test_a_value_stays_the_same_value_and_gets_no_longer(value: JsonValue) -> None:
    shortest = compact(parse(json.dumps(value, indent=3)))

    assert json.loads(shortest) == value
    assert len(shortest) <= len(json.dumps(value))


@given(values)
def test_a_number_inside_changes_nothing_of_how_the_rest_is_written(value: JsonValue) -> None:
    for write in (lambda v: compact(v).encode(), canonical):
        alone, beside = write(value), write([value, Number("1.0")])

        assert beside == b"[" + alone + b",1.0]"


def test_strings_have_the_escapes_that_json_demands_and_no_others() -> None:
    value = parse(r'["\u304a\u8336 \u0041\/", "\"\\\n\u0001", "\ud83c\udf75"]')

    assert compact(value) == r'["お茶 A/","\"\\\n\u0001","🍵"]'


def test_equal_values_have_equal_bytes() -> None:
    assert canonical({"b": 1, "a": [True, None]}) == canonical({"a": [True, None], "b": 1})


def _circle() -> list[object]:
    circle: list[object] = []
    circle.append(circle)
    return circle


def _deep() -> list[object]:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    return deep


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, {"a": [-math.inf]}, [math.nan, Number("1.0")], {1, 2}, b"x", {"a": 1j},
     {("a", 1): 2}, {1: 2, "b": 3}, _circle(), _deep(), 10**5_000],
    ids=["nan", "inf", "-inf inside", "nan by a Number", "set", "bytes", "complex", "tuple as name",
         "names of two kinds", "circle", "too deep", "more digits than Python writes"],
)  # fmt: skip
def test_what_json_cannot_hold_is_refused(value: object) -> None:
    with pytest.raises(NotJson):
        canonical(cast("JsonValue", value))


def test_half_of_a_surrogate_pair_cannot_be_bytes() -> None:
    for value in (["\ud83d"], ["\ud83d", Number("1.0")], {"\udc00": 1}):
        with pytest.raises(NotJson, match="half of a surrogate pair"):
            canonical(value)
