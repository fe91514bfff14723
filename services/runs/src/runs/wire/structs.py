"""JSON values on the wire."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from google.protobuf import struct_pb2

from servicekit.errors import ValueUnstorable

if TYPE_CHECKING:
    from jsonvalues import JsonMapping, JsonValue

_EXACT = 2**53


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


def _number(number: float) -> int | float:
    # A message knows only doubles: 3 arrives as 3.0 and is to be 3 again.
    if not math.isfinite(number):
        raise ValueUnstorable(f"{number} is no number of JSON")
    return int(number) if number.is_integer() and abs(number) <= _EXACT else number
