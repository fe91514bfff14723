"""Metrics: numbers in the output of a step, for conditions and for people."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jsonvalues import JsonValue

_INT64 = 2**63
_EXACT = 2**53


@dataclass(frozen=True, slots=True)
class Metrics:
    """Numbers by name, as they are carried and stored."""

    whole: Mapping[str, int]
    """Each number that fits into 64 bits, rounded."""
    fractional: Mapping[str, float]
    """Those that are no whole numbers of 64 bits, as they are."""

    @classmethod
    def of(cls, numbers: Mapping[str, float]) -> Metrics:
        rounded = {name: round(number) for name, number in numbers.items()}
        return cls(
            {name: number for name, number in rounded.items() if _fits(number)},
            {name: number for name, number in numbers.items() if isinstance(number, float)},
        )


def metric_value(value: JsonValue, name: str) -> float:
    """Return a metric's value with its fraction. Raises KeyError if it is no finite number.

    A whole number is an int, however it is written, as long as conditions can hold it.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise KeyError(name)
    if isinstance(value, int) and _fits(value):
        return value
    try:
        found = float(value)
    except OverflowError:
        raise KeyError(name) from None
    if not math.isfinite(found):
        raise KeyError(name)
    return int(found) if found.is_integer() and abs(found) <= _EXACT else found


def _fits(number: int) -> bool:
    return -_INT64 <= number < _INT64
