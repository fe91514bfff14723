"""Values as text for tables; never parsed again."""

from __future__ import annotations

import json
import re
import unicodedata
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

from google.protobuf import json_format
from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
    from google.protobuf.message import Message

_MONEY = "_micro_usd"
_CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


_ZEROS = {
    "nagaya.tenant.v1.Server.max_tenants": "no limit",
    "nagaya.tenant.v1.Server.connection_budget": "no limit",
    "nagaya.runs.v1.TenantLimits.max_steps": "its share",
    "nagaya.runs.v1.TenantLimits.starts_per_minute": "no limit",
    "nagaya.runs.v1.TenantLimits.max_runs": "as many as workers can do",
    "nagaya.llm_gateway.v1.CallAttempt.http_status": "",
    "nagaya.llm_gateway.v1.CallKey.item": "",
    "nagaya.runs.v1.RunStep.item": "",
    "nagaya.artifacts.v1.Artifact.item": "",
}
"""What 0 stands for, where it is no number."""

NumberT = TypeVar("NumberT", bound=int)


class Enum(Protocol[NumberT]):
    """An enum of the contracts."""

    DESCRIPTOR: EnumDescriptor

    def values(self) -> list[NumberT]: ...


def money(micro_usd: int) -> str:
    """`$0.0312`; as many digits as it takes to see that something was paid."""
    dollars = micro_usd / 1_000_000
    return f"${dollars:.6f}" if 0 < micro_usd < 100 else f"${dollars:,.4f}"


def seconds(start: Timestamp, end: Timestamp) -> float:
    """How long something took."""
    return (end.ToNanoseconds() - start.ToNanoseconds()) / 1e9


def moment(time: Timestamp) -> str:
    """The moment in the time zone of whoever reads."""
    if not time.ByteSize():
        return ""
    return time.ToDatetime().astimezone().strftime("%Y-%m-%d %H:%M:%S")


def name_of(enum: Enum[NumberT], number: NumberT) -> str:
    """`RUN_STATE_RUNNING` of RunState is `running`."""
    known = enum.DESCRIPTOR.values_by_number.get(number)
    if known is None:
        return str(number)
    return short_name(known.name, enum.DESCRIPTOR.name)


def short_name(value: str, enum: str) -> str:
    """Return `running` for RUN_STATE_RUNNING of RunState; empty for the unspecified value."""
    prefix = f"{_CAPITAL.sub('_', enum).upper()}_"
    return value.removeprefix(prefix).lower().removeprefix("unspecified")


def value_at(message: Message, path: str) -> str:
    """The value at a dotted path of fields; empty where a message on the way is absent."""
    *above, last = path.split(".")
    for name in above:
        if not message.HasField(name):
            return ""
        message = getattr(message, name)
    return field_text(message, field_named(message, last))


def field_named(message: Message, name: str) -> FieldDescriptor:
    return cast("FieldDescriptor", message.DESCRIPTOR.fields_by_name[name])


def field_text(message: Message, field: FieldDescriptor) -> str:
    """A field in one line; empty when it is not set."""
    value = getattr(message, field.name)
    if _is_map(field):
        pairs = cast("dict[str, object]", value)
        return ", ".join(f"{key}={pairs[key]}" for key in sorted(pairs))
    if field.is_repeated:
        return ", ".join(_text(field, element) for element in value)
    if field.message_type is not None and not message.HasField(field.name):
        return ""
    return _text(field, value)


def label(field: FieldDescriptor) -> str:
    """A field's name for people: amounts are shown in dollars, prices for a million tokens."""
    if not field.name.endswith(_MONEY):
        return field.name
    of_price = field.containing_type is not None and field.containing_type.name == "Price"
    return field.name.removesuffix(_MONEY) + (" per million tokens" if of_price else "")


def _is_map(field: FieldDescriptor) -> bool:
    kind = field.message_type
    return kind is not None and kind.GetOptions().map_entry


def _text(field: FieldDescriptor, value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case Timestamp():
            return moment(value)
        case Duration():
            return str(timedelta(seconds=value.ToTimedelta().total_seconds()))
        case int() if field.enum_type is not None:
            return short_name(field.enum_type.values_by_number[value].name, field.enum_type.name)
        case 0 if field.full_name in _ZEROS:
            return _ZEROS[field.full_name]
        case int():
            return money(value) if field.name.endswith(_MONEY) else f"{value:,}"
        case Struct() | Value():
            return json.dumps(whole(json_format.MessageToDict(value)), ensure_ascii=False)
        case _:
            return str(value)


def whole(value: object) -> object:
    """A JSON value with its whole numbers as such: JSON inside protobuf knows only doubles."""
    match value:
        case dict():
            pairs = cast("dict[str, object]", value)
            return {key: whole(inner) for key, inner in pairs.items()}
        case list():
            return [whole(inner) for inner in cast("list[object]", value)]
        case float() if value.is_integer():
            return int(value)
        case _:
            return value


def width(text: str) -> int:
    """How many columns of a terminal a text takes: Japanese letters take two."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return len(text) + wide - sum(unicodedata.combining(letter) > 0 for letter in text)


def aligned(rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Rows as lines with their columns below each other, two blanks apart."""
    table = list(rows)
    widths = [max(map(width, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(
            cell + " " * (wanted - width(cell)) for cell, wanted in zip(row, widths, strict=True)
        ).rstrip()
        for row in table
    ]
