"""What is wrong with the fields of a request, and whether it has too many of them."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import protovalidate
from google.protobuf.message import Message

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from google.protobuf.descriptor import FieldDescriptor

_MESSAGES = 10_000
_JSON_VALUES = 40_000  # 64 KiB of JSON hold 32,768
_SMALL_BYTES = 4 << 10  # too small to hold many of anything
_PACKAGE_OF_JSON = "google.protobuf"


class Fault(NamedTuple):
    """A field, by its path in the request, and what is wrong with it."""

    field: str
    description: str


def faults(request: Message, size: int) -> tuple[Fault, ...]:
    """Return what breaks the rules of the contract in a request of `size` bytes.

    Of a large one only the first fault: to find them all can take seconds, in which nobody else
    would be served.
    """
    found = protovalidate.collect_violations(request, fail_fast=size > _SMALL_BYTES)
    return tuple(map(_fault, found))


def unstorable(value: Any, path: str = "") -> Iterator[Fault]:
    """Find texts of a request that hold U+0000, keys of maps among them, and infinite numbers."""
    parts: list[tuple[str, Any]] = []
    if isinstance(value, Message):
        named = value.DESCRIPTOR.file.package != _PACKAGE_OF_JSON  # a Struct is told as JSON
        parts = [(f".{field.name}" if named else "", part) for field, part in value.ListFields()]
    elif hasattr(value, "items"):
        parts = [(f"[{json.dumps(key)}]", part) for key in value for part in (key, value[key])]
    elif not isinstance(value, str | bytes) and hasattr(value, "__len__"):
        parts = [(f"[{index}]", part) for index, part in enumerate(value)]
    elif isinstance(value, str) and "\0" in value:
        yield Fault(path.lstrip("."), "holds U+0000, which cannot be stored")
    elif isinstance(value, float) and not math.isfinite(value):
        yield Fault(path.lstrip("."), "is no number that JSON has")
    for name, part in parts:
        yield from unstorable(part, path + name)


def excess(request: Message, size: int) -> str:
    """Tell what a request of `size` bytes has too much of, having looked at no more; else empty.

    Rules of fields bound each list, but neither what lists within lists come to, nor JSON values.
    """
    if size < _SMALL_BYTES:
        return ""
    messages, values = _MESSAGES, _JSON_VALUES
    left: list[Any] = [request]
    while left:
        for field, value in left.pop().ListFields():
            parts = _parts(field, value)
            messages -= len(parts)
            if messages < 0:
                return f"it holds more than {_MESSAGES:,} messages"
            if parts and next(iter(parts)).DESCRIPTOR.file.package == _PACKAGE_OF_JSON:
                values -= sum(_json_values(part, values) for part in parts)
            else:
                left.extend(parts)
        if values < 0:
            return f"it holds more than {_JSON_VALUES:,} JSON values"
    return ""


def _parts(field: FieldDescriptor, value: Any) -> Collection[Any]:
    """Return the messages of a field."""
    kind = field.message_type
    if kind is None:
        return ()
    if not field.is_repeated:
        return (value,)
    if not kind.GetOptions().map_entry:
        return value
    return value.values() if kind.fields_by_name["value"].message_type is not None else ()


def _json_values(message: Any, most: int) -> int:
    """Return how many JSON values a Struct, Value or ListValue holds; counts little beyond most."""
    count, left = 0, [message]
    while left and count <= most:
        found = left.pop()
        match found.DESCRIPTOR.name:
            case "Struct":
                inner = found.fields.values()
            case "ListValue":
                inner = found.values
            case "Value":
                kind = found.WhichOneof("kind")
                if kind in ("struct_value", "list_value"):
                    left.append(getattr(found, kind))
                continue
            case _:  # such as a Duration
                continue
        count += len(inner)
        if count <= most:
            left.extend(inner)
    return count


def _fault(found: protovalidate.Violation) -> Fault:
    names: list[str] = []
    for element in found.proto.field.elements if found.proto.field is not None else ():
        names.append(element.field_name)
        if element.subscript is not None:
            names[-1] += f"[{element.subscript.value}]"
    return Fault(".".join(names), found.proto.message or found.proto.rule_id)
