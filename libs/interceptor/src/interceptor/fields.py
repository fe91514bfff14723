"""Checks of a request: the rules of its contract, its size in values, texts that cannot be kept."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import protovalidate
from google.protobuf.message import Message

from servicekit.errors import Violation

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from google.protobuf.descriptor import FieldDescriptor

_MESSAGES = 10_000
_JSON_VALUES = 40_000  # 64 KiB of JSON hold 32,768
_SMALL_BYTES = 4 << 10  # too small to hold many of anything
_PACKAGE_OF_JSON = "google.protobuf"


def find_violations(request: Message, size: int) -> tuple[Violation, ...]:
    """Return what breaks the rules of the contract (protovalidate) in a request of `size` bytes.

    Of a request above 4 KiB only the first violation: to find them all can take seconds, in which
    the event loop would serve nobody else.
    """
    found = protovalidate.collect_violations(request, fail_fast=size > _SMALL_BYTES)
    return tuple(map(_violation, found))


def find_unstorable(value: Any, path: str = "") -> Iterator[Violation]:
    """Find texts of a request that hold U+0000, keys of maps among them, and infinite numbers."""
    parts: list[tuple[str, Any]] = []
    if isinstance(value, Message):
        named = value.DESCRIPTOR.file.package != _PACKAGE_OF_JSON  # a Struct is named as JSON
        parts = [(f".{field.name}" if named else "", part) for field, part in value.ListFields()]
    elif hasattr(value, "items"):
        parts = [(f"[{json.dumps(key)}]", part) for key in value for part in (key, value[key])]
    elif not isinstance(value, str | bytes) and hasattr(value, "__len__"):
        parts = [(f"[{index}]", part) for index, part in enumerate(value)]
    elif isinstance(value, str) and "\0" in value:
        yield Violation(path.lstrip("."), "holds U+0000, which cannot be stored")
    elif isinstance(value, float) and not math.isfinite(value):
        yield Violation(path.lstrip("."), "is no number that JSON has")
    for name, part in parts:
        yield from find_unstorable(part, path + name)


def find_excess(request: Message, size: int) -> str:
    """Return which bound a request of `size` bytes exceeds, in words; empty when none.

    A request may hold 10,000 messages and 40,000 JSON values: the rules of fields bound each list,
    but not lists within lists, nor JSON values. Nothing is counted beyond a bound.
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
    """Return how many JSON values a Struct, Value or ListValue holds; counts little past `most`."""
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


def _violation(found: protovalidate.Violation) -> Violation:
    names: list[str] = []
    for element in found.proto.field.elements if found.proto.field is not None else ():
        names.append(element.field_name)
        if element.subscript is not None:
            names[-1] += f"[{element.subscript.value}]"
    return Violation(".".join(names), found.proto.message or found.proto.rule_id)
