"""JSON values on the wire."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from google.protobuf import struct_pb2

from jsonvalues import PROTOBUF_LEVELS, NotJson, canonical, exact_in_protobuf, parse_strict
from servicekit.errors import RequestInvalid, ValueUnstorable, Violation

if TYPE_CHECKING:
    from jsonvalues import JsonMapping, JsonValue

_EXACT = 2**53
_ANY = 1_000


def given_object(text: str, message: struct_pb2.Struct, field: str) -> JsonMapping:
    """Return the object that a request gives, by its text if there is one.

    Raises RequestInvalid with the text's field, and ValueUnstorable if a number is not finite.
    """
    if not text:
        return json_object(message)
    value = given_value(text, field, levels=PROTOBUF_LEVELS)
    if not isinstance(value, Mapping):
        raise _invalid(field, "it is no JSON object")
    return value


def given_value(text: str, field: str, *, levels: int | None = None) -> JsonValue:
    """Return the value of a text in a request. Raises RequestInvalid with the text's field."""
    try:
        return parse_strict(text, levels=levels)
    except NotJson as error:
        raise _invalid(field, str(error)) from None


def text_beside(value: JsonMapping) -> str:
    """Return a value's text; empty if a message holds all that there is of it."""
    # What a message holds already is never nested too deeply for one.
    return "" if exact_in_protobuf(value, levels=_ANY) else canonical(value).decode()


def json_object(message: struct_pb2.Struct) -> JsonMapping:
    """Return the object that a message holds. Raises ValueUnstorable if a number is not finite."""
    return {name: json_value(value) for name, value in message.fields.items()}


def json_value(message: struct_pb2.Value) -> JsonValue:
    """Return the value that a message holds. Raises ValueUnstorable if a number is not finite."""
    match message.WhichOneof("kind"):
        case "struct_value":
            return json_object(message.struct_value)
        case "list_value":
            return [json_value(value) for value in message.list_value.values]
        case "string_value":
            return message.string_value
        case "bool_value":
            return message.bool_value
        case "number_value":
            return _number(message.number_value)
        case _:
            return None


def struct(value: JsonMapping) -> struct_pb2.Struct:
    message = struct_pb2.Struct()
    message.update(value)
    return message


def _invalid(field: str, fault: str) -> RequestInvalid:
    return RequestInvalid(f"{field}: {fault}", violations=[Violation(field, fault)])


def _number(number: float) -> int | float:
    # A message knows only doubles: 3 arrives as 3.0 and is to be 3 again.
    if not math.isfinite(number):
        raise ValueUnstorable(f"{number} is no number of JSON")
    return int(number) if number.is_integer() and abs(number) <= _EXACT else number
