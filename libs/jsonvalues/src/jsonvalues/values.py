"""The types of JSON values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

JsonValue: TypeAlias = (
    bool | int | float | str | Sequence["JsonValue"] | Mapping[str, "JsonValue"] | None
)
"""A value to read from."""

JsonMapping: TypeAlias = Mapping[str, JsonValue]

Json: TypeAlias = bool | int | float | str | list["Json"] | dict[str, "Json"] | None
"""A value as it is parsed."""

JsonObject: TypeAlias = dict[str, Json]

PROTOBUF_LEVELS = 30
"""Protobuf takes messages of 100 levels; an object in a Struct costs three of them."""

_EXACT = 2**53
"""Up to here every whole number is a double of its own."""


class NotJson(Exception):
    """Something is no JSON value. The message says why, and quotes nothing of it."""


class NameTwice(NotJson):
    """An object has two members of one name."""

    def __init__(self, name: str) -> None:
        super().__init__("an object has two members of the same name")
        self.name = name


class Number(float):
    """A number that Python would write otherwise than it was written.

    It calculates as the nearest float, and is written as it was. Larger ones are infinite floats.
    """

    __slots__ = ("text",)

    text: str

    def __new__(cls, text: str) -> Number:
        number = super().__new__(cls, text)
        number.text = text
        return number

    def __reduce__(self) -> tuple[type[Number], tuple[str]]:
        return Number, (self.text,)


def exact_in_protobuf(value: JsonValue, levels: int = PROTOBUF_LEVELS) -> bool:
    """Tell whether a value comes out of `google.protobuf.Value` as it was put in.

    That knows only doubles, so whole numbers beyond 2^53 and what is written as `1.0` or `1E2` are
    not exact there; and what is nested deeper than PROTOBUF_LEVELS cannot be received.
    """
    if isinstance(value, Mapping | Sequence) and not isinstance(value, str):
        inner = value.values() if isinstance(value, Mapping) else value
        return levels > 0 and all(exact_in_protobuf(each, levels - 1) for each in inner)
    if isinstance(value, Number):
        return False
    if isinstance(value, float):
        return not value.is_integer() or abs(value) > _EXACT
    return not isinstance(value, int) or -_EXACT <= value <= _EXACT
