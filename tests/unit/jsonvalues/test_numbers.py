"""Numbers keep their fraction."""

from __future__ import annotations

import math

import pytest

from jsonvalues import JsonValue, NotANumber, parse, plain_number


@pytest.mark.parametrize(
    ("text", "value"),
    [("7.6", 7.6), ("0.6", 0.6), ("7", 7), ("7.0", 7), ("1E2", 100), ("-0", 0), ("1e30", 1e30),
     ("9223372036854775807", 2**63 - 1), ("9223372036854775808", 2.0**63)],
)  # fmt: skip
def test_a_metric_is_the_number_that_is_written(text: str, value: float) -> None:
    found = plain_number(parse(text))

    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    "value",
    ["7", True, None, [7], {}, math.nan, math.inf, parse("1e309"), 10**309, parse("9" * 700)],
    ids=["text", "true", "null", "list", "object", "nan", "inf", "1e309", "10**309", "700 digits"],
)
def test_a_metric_that_is_no_finite_number_is_an_error(value: JsonValue) -> None:
    with pytest.raises(NotANumber):
        plain_number(value)
