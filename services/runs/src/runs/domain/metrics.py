"""Metrics: numbers in the output of a step, for conditions and for people."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jsonvalues import JsonValue

_INT64 = 2**63
_EXACT = 2**53


def number(value: JsonValue, name: str) -> float:
    """Return a metric's value with its fraction. Raises KeyError if it is no finite number.

    A whole number is an int, however it is written, as long as conditions can hold it.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise KeyError(name)
    if isinstance(value, int) and -_INT64 <= value < _INT64:
        return value
    try:
        value = float(value)
    except OverflowError:
        raise KeyError(name) from None
    if not math.isfinite(value):
        raise KeyError(name)
    return int(value) if value.is_integer() and abs(value) <= _EXACT else value
