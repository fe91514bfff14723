"""reference/pipelines.md: every field of a pipeline, from the comments of its contract."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from google.protobuf.descriptor_pb2 import (
        DescriptorProto,
        EnumDescriptorProto,
        FileDescriptorProto,
    )

PACKAGE = ".nagaya.runs.v1."
ROOT = "PipelineSpec"
_MESSAGE, _ENUM = 4, 5  # numbers of fields of FileDescriptorProto, as comments name places
_FIELD, _VALUE = 2, 2  # of DescriptorProto and EnumDescriptorProto
_HEAD = """\
# Pipelines: every field

Made by `make docs` from `protos/nagaya/runs/v1/pipeline.proto`.

A pipeline file is YAML: the fields of `PipelineSpec`, and `pipeline`, its name. Names are written
as they stand here, durations as `30s`, values of an enumeration by their whole name. What a field
may hold is checked when the pipeline is validated, before anything is stored;
[pipeline files](../client/pipeline-files.md) says which YAML is refused. [The
tutorial](../tutorial.md) writes a pipeline step by step.
"""
_SCALARS = {
    Field.TYPE_STRING: "text",
    Field.TYPE_BOOL: "true or false",
    Field.TYPE_INT32: "whole number",
    Field.TYPE_INT64: "whole number",
    Field.TYPE_DOUBLE: "number",
    Field.TYPE_FLOAT: "number",
}
_WELL_KNOWN = {
    ".google.protobuf.Duration": "duration",
    ".google.protobuf.Struct": "object",
    ".google.protobuf.Timestamp": "moment",
}


@dataclass(frozen=True, slots=True)
class _Types:
    """The messages and enumerations of the contracts, with their comments, by full name."""

    messages: Mapping[str, tuple[DescriptorProto, _Comments]]
    enums: Mapping[str, tuple[EnumDescriptorProto, _Comments]]


@dataclass(frozen=True, slots=True)
class _Comments:
    """The comments of one message or enumeration."""

    texts: Mapping[tuple[int, ...], str]
    place: tuple[int, ...]

    def of(self, *path: int) -> str:
        return self.texts.get((*self.place, *path), "")


def page(files: Iterable[FileDescriptorProto]) -> str:
    """Return the page, from our contracts with their comments."""
    types = _types(files)
    parts = (
        _message(types, name) if name in types.messages else _enum(types, name)
        for name in _reachable(types, f"{PACKAGE}{ROOT}")
    )
    return "\n".join([_HEAD, *parts])


def _types(files: Iterable[FileDescriptorProto]) -> _Types:
    messages: dict[str, tuple[DescriptorProto, _Comments]] = {}
    enums: dict[str, tuple[EnumDescriptorProto, _Comments]] = {}
    for file in files:
        texts = {tuple(one.path): one.leading_comments for one in file.source_code_info.location}
        for index, message in enumerate(file.message_type):
            name = f".{file.package}.{message.name}"
            messages[name] = message, _Comments(texts, (_MESSAGE, index))
        for index, enum in enumerate(file.enum_type):
            enums[f".{file.package}.{enum.name}"] = enum, _Comments(texts, (_ENUM, index))
    return _Types(messages, enums)


def _reachable(types: _Types, root: str) -> Iterator[str]:
    """Yield a message and all that its fields name, each once, in the order of their mention."""
    found, index = [root], 0
    while index < len(found):
        name = found[index]
        index += 1
        yield name
        if name in types.messages:
            for field in types.messages[name][0].field:
                known = field.type_name in types.messages or field.type_name in types.enums
                if known and field.type_name not in found:
                    found.append(field.type_name)


def _message(types: _Types, name: str) -> str:
    message, comments = types.messages[name]
    lines = [f"## {message.name}\n", f"{_text(comments.of())}\n"]
    for index, oneof in enumerate(message.oneof_decl):
        members = [one.name for one in message.field if _in_oneof(one, index)]
        if len(members) > 1:
            lines.append(f"One of {_list(members)} ({oneof.name}).\n")
    if not message.field:
        return "\n".join([*lines, "It has no fields: write `{}`.\n"])
    lines += ["| field | type | meaning |", "| --- | --- | --- |"]
    for index, field in enumerate(message.field):
        meaning = _cell(comments.of(_FIELD, index))
        lines.append(f"| `{field.name}` | {_type(types, message, field)} | {meaning} |")
    return "\n".join(lines) + "\n"


def _enum(types: _Types, name: str) -> str:
    enum, comments = types.enums[name]
    lines = [f"## {enum.name}\n", f"{_text(comments.of())}\n"]
    lines += ["| value | meaning |", "| --- | --- |"]
    for index, value in enumerate(enum.value):
        lines.append(f"| `{value.name}` | {_cell(comments.of(_VALUE, index))} |")
    return "\n".join(lines) + "\n"


def _type(types: _Types, message: DescriptorProto, field: Field) -> str:
    entry = next((one for one in message.nested_type if field.type_name.endswith(one.name)), None)
    if entry is not None:  # of a map
        return f"{_one(types, entry.field[1])} by name"
    one = _one(types, field)
    return f"list of {one}" if field.label == Field.LABEL_REPEATED else one


def _one(types: _Types, field: Field) -> str:
    name = field.type_name
    if name in types.messages or name in types.enums:
        short = name.rpartition(".")[2]
        return f"[{short}](#{short.lower()})"
    return _WELL_KNOWN.get(name) or _SCALARS[field.type]


def _in_oneof(field: Field, index: int) -> bool:
    return (
        field.HasField("oneof_index") and field.oneof_index == index and not field.proto3_optional
    )


def _list(names: list[str]) -> str:
    quoted = [f"`{name}`" for name in names]
    return f"{', '.join(quoted[:-1])} and {quoted[-1]}"


def _text(comment: str) -> str:
    paragraphs = re.split(r"\n\s*\n", comment.strip())
    filled = (" ".join(one.split()) for one in paragraphs)
    return "\n\n".join(textwrap.fill(one, 100, break_on_hyphens=False) for one in filled)


def _cell(comment: str) -> str:
    return " ".join(comment.split()).replace("|", "\\|")
