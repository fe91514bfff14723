"""JSON pointers: RFC 6901."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runs.domain.values import JsonValue


def resolve(value: JsonValue, pointer: str) -> JsonValue:
    """Return what a pointer points to. Raises KeyError if there is nothing."""
    for token in pointer.split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~")
        if isinstance(value, Mapping):
            value = value[name]
        elif isinstance(value, Sequence) and not isinstance(value, str) and name.isdecimal():
            if int(name) >= len(value):
                raise KeyError(pointer)
            value = value[int(name)]
        else:
            raise KeyError(pointer)
    return value


def number(value: JsonValue, name: str) -> int:
    """Return a metric's value, rounded to a whole number. Raises KeyError if it is no number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise KeyError(name)
    return round(value)
