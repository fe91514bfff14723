"""Numbers of JSON values, as programs calculate with them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jsonvalues.values import JsonValue

_INT64 = 2**63
_EXACT = 2**53


class NotANumber(Exception):
    """A JSON value is no number, or one that is larger than any double."""


def plain_number(value: JsonValue) -> float:
    """Return a number with its fraction. Raises NotANumber.

    A whole number is an int, however it is written (`7`, `7.0`, `1E2`), as long as 64 bits hold it.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise NotANumber
    if isinstance(value, int) and fits_int64(value):
        return value
    try:
        found = float(value)
    except OverflowError:
        raise NotANumber from None
    if not math.isfinite(found):
        raise NotANumber
    return int(found) if found.is_integer() and abs(found) <= _EXACT else found


def fits_int64(number: int) -> bool:
    """Tell whether 64 bits hold a whole number, its sign included."""
    return -_INT64 <= number < _INT64
