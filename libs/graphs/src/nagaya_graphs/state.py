"""What the state of a graph may hold: references to files, and small values.

The state is written into Temporal's history with each node. Contents belong into files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, cast

from jsonvalues import NotJson, canonical
from nagaya_functions import FilePointer, StepError

if TYPE_CHECKING:
    from jsonvalues import JsonValue

STATE_BYTES = 4_096
"""The most bytes that a state takes as JSON; an update, and what a Send carries, likewise."""

TEXT_CHARACTERS = 256
"""The most characters of a text in it."""

TOO_LARGE, INVALID = "STATE_TOO_LARGE", "STATE_INVALID"
_POINTER = {"path", "digest", "json_pointer"}
_HINT = "write it with context.write and keep the FilePointer"


def encode_state(values: Mapping[str, object]) -> dict[str, JsonValue]:
    """Return the fields of a state, or some of them, as JSON.

    Raises StepError, with the name of the field: STATE_TOO_LARGE for a text over 256 characters and
    for more than 4,096 bytes in all; STATE_INVALID for what is no JSON value and no FilePointer.
    """
    encoded = {str(field): encode_value(str(field), value) for field, value in values.items()}
    sizes = {field: len(_encoded(field, value)) for field, value in encoded.items()}
    size = len(canonical(encoded))
    if size > STATE_BYTES:
        field = max(sizes, key=sizes.__getitem__)
        raise _refused(
            TOO_LARGE,
            f"the state takes {size:,} bytes, at most {STATE_BYTES:,} are possible; its field "
            f"{field} takes {sizes[field]:,}: {_HINT}",
        )
    return encoded


def decode_state(encoded: Mapping[str, JsonValue]) -> dict[str, object]:
    """Return the fields that `encode_state` was called with."""
    return {field: decode_value(value) for field, value in encoded.items()}


def encode_value(field: str, value: object) -> JsonValue:
    """Return a value of a field as JSON. Raises StepError as `encode_state` does."""
    match value:
        case FilePointer():
            return asdict(value)
        case str() if len(value) > TEXT_CHARACTERS:
            raise _refused(
                TOO_LARGE,
                f"the state's field {field} holds a text of {len(value):,} characters, at most "
                f"{TEXT_CHARACTERS} are possible: {_HINT}",
            )
        case None | bool() | int() | float() | str():
            return value
        case Mapping():
            fields = cast("Mapping[object, object]", value)
            return {str(name): encode_value(field, each) for name, each in fields.items()}
        case list() | tuple():
            return [encode_value(field, each) for each in cast("list[object]", value)]
        case _:
            raise _refused(
                INVALID,
                f"the state's field {field} holds a {type(value).__name__}: a state holds "
                "FilePointers, texts, numbers, booleans, None, and lists and dicts of these",
            )


def decode_value(value: JsonValue) -> object:
    """Return the value that `encode_value` was called with."""
    if isinstance(value, Mapping):
        if set(value) == _POINTER and all(isinstance(each, str) for each in value.values()):
            return FilePointer(**cast("dict[str, str]", value))
        return {name: decode_value(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [decode_value(each) for each in value]
    return value


def _encoded(field: str, value: JsonValue) -> bytes:
    try:
        return canonical(value)
    except NotJson as error:
        raise _refused(
            INVALID, f"the state's field {field} holds what JSON cannot hold: {error}"
        ) from None


def _refused(reason: str, message: str) -> StepError:
    return StepError(reason, message, retryable=False)
