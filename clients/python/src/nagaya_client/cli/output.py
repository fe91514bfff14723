"""Responses as tables for people, and as protobuf JSON, JSON lines or YAML for programs."""

from __future__ import annotations

import json
import shutil
import sys
from typing import TYPE_CHECKING, cast

import click
import yaml
from google.protobuf import json_format

from jsonvalues import Number, parse
from nagaya_client.cli import tables, values
from nagaya_client.cli.fitting import fitted
from nagaya_client.paging import list_field

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from google.protobuf.descriptor import FieldDescriptor
    from google.protobuf.message import Message

_TEXT_BEHIND = 100  # a text that is longer, or has several lines, stands below what is short


class Printer:
    """Prints answers to stdout in one of `command.FORMATS`."""

    def __init__(self, form: str, *, headers: bool = True) -> None:
        self._form = form
        self._headers = headers

    def show(self, response: Message) -> None:
        """Print a response: a list as a table, a single thing field by field."""
        match self._form:
            case "json":
                click.echo(_json(response, indent=2))
            case "jsonl":
                for item in _items(response):
                    click.echo(_json(item))
            case "yaml":
                click.echo(_yaml(json_format.MessageToDict(response)), nl=False)
            case "id":
                for item in _items(response):
                    click.echo(_id(item))
            case _:
                self._table(response)

    def show_records(self, records: Sequence[Mapping[str, object]]) -> None:
        """Print what is no message: records that all have the same keys."""
        match self._form:
            case "json":
                click.echo(json.dumps(records, ensure_ascii=False, indent=2))
            case "jsonl":
                for record in records:
                    click.echo(json.dumps(record, ensure_ascii=False))
            case "yaml":
                click.echo(_yaml(list(records)), nl=False)
            case "id":
                for record in records:
                    click.echo(next(iter(record.values())))
            case _:
                rows = [tuple(map(_cell, record.values())) for record in records]
                header = tuple(key.upper() for key in records[0]) if records else ()
                self._rows(header, rows)

    def show_record(self, record: Mapping[str, object]) -> None:
        """Print one thing that is no message."""
        match self._form:
            case "json":
                click.echo(json.dumps(record, ensure_ascii=False, indent=2))
            case "yaml":
                click.echo(_yaml(dict(record)), nl=False)
            case "jsonl" | "id":
                self.show_records([record])
            case _:
                for line in values.aligned((name, _cell(value)) for name, value in record.items()):
                    click.echo(line)

    def _table(self, response: Message) -> None:
        field = list_field(response)
        if field is None:
            for item in _items(response):
                click.echo("\n".join(_described(item)))
            return
        items = _items(response)
        columns = tables.COLUMNS[items[0].DESCRIPTOR.full_name] if items else ()
        rows = [tuple(tables.cell(item, content) for _, content in columns) for item in items]
        self._rows(tuple(header for header, _ in columns), rows)
        if getattr(response, "next_page_token", ""):
            click.echo(f"there are more than {len(rows)}: --limit shows them", err=True)

    def _rows(self, header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
        if not rows:
            click.echo("nothing found", err=True)
            return
        table = [header, *rows]
        if sys.stdout.isatty():
            table, lacking = fitted(header, rows, shutil.get_terminal_size().columns)
            if lacking:
                missing = ", ".join(lacking)
                click.echo(f"no room for {missing}: a wider terminal or -o json shows it", err=True)
        for line in values.aligned(table if self._headers else table[1:]):
            click.echo(line)


def _cell(value: object) -> str:
    return f"{value:,}" if type(value) is int else str(value)


def json_line(message: Message) -> str:
    """A message as one line of protobuf's JSON."""
    return _json(message)


def yaml_text(message: Message) -> str:
    """A message as YAML, its fields in the order of the contract."""
    return _yaml(_plain(message))


def _json(message: Message, indent: int | None = None) -> str:
    return json_format.MessageToJson(message, indent=indent, ensure_ascii=False)


class _Dumper(yaml.SafeDumper):
    """Writes numbers to the letter."""


def _number(dumper: _Dumper, number: Number) -> yaml.ScalarNode:
    # Its stub has no types.
    tag = str(dumper.resolve(yaml.ScalarNode, number.text, (True, False)))  # pyright: ignore
    return dumper.represent_scalar(tag, number.text)  # pyright: ignore[reportUnknownMemberType]


_Dumper.add_representer(Number, _number)


def _yaml(content: object) -> str:
    return yaml.dump(content, Dumper=_Dumper, allow_unicode=True, sort_keys=False)


def _items(response: Message) -> Sequence[Message]:
    """What a response is about: the items of a list, the one thing, or itself."""
    field = list_field(response)
    if field is not None:
        return cast("Sequence[Message]", getattr(response, field.name))
    fields = cast("list[FieldDescriptor]", response.DESCRIPTOR.fields)
    if len(fields) == 1 and fields[0].message_type is not None:
        return (getattr(response, fields[0].name),)
    return (response,)


def _id(message: Message) -> str:
    """What names a thing: in our contracts its first field, or what that consists of."""
    first = cast("FieldDescriptor", message.DESCRIPTOR.fields[0])
    value = getattr(message, first.name)
    if first.message_type is None:
        return str(value)
    parts = cast("list[FieldDescriptor]", first.message_type.fields)
    return "/".join(str(getattr(value, part.name)) for part in parts)


def _described(message: Message, above: str = "") -> list[str]:
    """A message field by field; texts of several lines at the end."""
    rows: list[tuple[str, str]] = []
    behind: list[str] = []
    for name, text in _named_values(message, above):
        if "\n" in text or values.width(text) > _TEXT_BEHIND:
            behind += ["", f"{name}:", *(f"  {line}" for line in text.splitlines())]
        else:
            rows.append((name, text))
    return values.aligned(rows) + behind


def _named_values(message: Message, above: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for field in cast("list[FieldDescriptor]", message.DESCRIPTOR.fields):
        name = f"{above}{field.name}"
        if getattr(message, f"{field.name}_json", ""):
            continue  # which says it to the letter
        if _is_nested(field):
            if message.HasField(field.name):
                found += _named_values(getattr(message, field.name), f"{name}.")
        elif text := _text(message, field):
            found.append((above + values.label(field), text))
    return found


def _text(message: Message, field: FieldDescriptor) -> str:
    if not field.is_repeated or not _is_of_ours(field):
        return values.field_text(message, field)
    elements = cast("Sequence[Message]", getattr(message, field.name))
    return _yaml([_plain(element) for element in elements]) if elements else ""


def _plain(message: Message) -> dict[str, object]:
    """A message as its JSON; JSON inside of it by its text, where there is one."""
    found = json_format.MessageToDict(message, preserving_proto_field_name=True)
    plain = cast("dict[str, object]", values.whole(found))
    for field, value in message.ListFields():
        name, _, text = field.name.rpartition("_")
        if text == "json" and name in message.DESCRIPTOR.fields_by_name:
            plain[name] = parse(str(plain.pop(field.name)))
        elif _is_of_ours(field) and field.is_repeated:
            plain[field.name] = [_plain(element) for element in value]
        elif _is_of_ours(field):
            plain[field.name] = _plain(value)
    return plain


def _is_nested(field: FieldDescriptor) -> bool:
    return not field.is_repeated and _is_of_ours(field)


def _is_of_ours(field: FieldDescriptor) -> bool:
    """Whether a field holds a message of the contracts, and not a map or a plain value."""
    kind = field.message_type
    return (
        kind is not None
        and not kind.GetOptions().map_entry
        and not kind.full_name.startswith("google.protobuf.")
    )
