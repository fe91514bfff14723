"""A message from YAML nodes: protobuf JSON, each fault with its line."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import yaml
from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor

from jsonvalues import PROTOBUF_LEVELS, NotJson, compact, exact_in_protobuf, parse_strict
from nagaya_client.errors import Fault
from nagaya_client.yaml_source import ambiguity, did_you_mean, line_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.message import Message

    from jsonvalues import JsonValue
    from nagaya_client.yaml_source import Node, YamlSource

_TAG = "tag:yaml.org,2002:"
_NULL, _STR, _MAP, _SEQ = f"{_TAG}null", f"{_TAG}str", f"{_TAG}map", f"{_TAG}seq"
_KEYS = {_STR, f"{_TAG}merge"}
_SCALARS = {_NULL, _STR, f"{_TAG}bool", f"{_TAG}int", f"{_TAG}float"}
_WELL_KNOWN = "google.protobuf."
_JSON = {f"{_WELL_KNOWN}{name}" for name in ("Struct", "Value", "ListValue")}
_NUMBERS = {
    FieldDescriptor.CPPTYPE_INT32,
    FieldDescriptor.CPPTYPE_INT64,
    FieldDescriptor.CPPTYPE_DOUBLE,
    FieldDescriptor.CPPTYPE_FLOAT,
}
_WELL_KNOWN_FORMS = {"Duration": "a time such as `300s`", "Struct": "a mapping"}
_FORMS = {
    FieldDescriptor.CPPTYPE_STRING: "a text (in quotes where it looks like a number or a yes)",
    FieldDescriptor.CPPTYPE_INT32: "a whole number",
    FieldDescriptor.CPPTYPE_INT64: "a whole number",
    FieldDescriptor.CPPTYPE_BOOL: "true or false",
    FieldDescriptor.CPPTYPE_ENUM: "one of the known names",
}


class MessageReader:
    """Fills a message from nodes and collects what is wrong instead of stopping at the first."""

    def __init__(self, source: YamlSource) -> None:
        self._source = source
        self._open: set[int] = set()
        self._checked: set[int] = set()
        self.faults: list[Fault] = []

    def fill(self, node: Node, message: Message, path: str, extra: tuple[str, ...] = ()) -> None:
        """Fill `message` from a mapping; keys in `extra` are somebody else's."""
        if not isinstance(node, yaml.MappingNode):
            self._fault(node, path, "a mapping is expected here")
            return
        if id(node) in self._open:
            self._fault(node, path, "this mapping contains itself")
            return
        self._open.add(id(node))
        for key, value in self._pairs(node, path, message, extra):
            self._fill_field(key, value, message, f"{path}.{key.name}" if path else key.name)
        self._open.remove(id(node))

    def _pairs(
        self, node: yaml.MappingNode, path: str, message: Message, extra: tuple[str, ...]
    ) -> Iterator[tuple[FieldDescriptor, Node]]:
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value) if isinstance(key, yaml.ScalarNode) else ""
            if name in extra:
                continue
            field = _find_field(message, name)
            if field is None:
                known = [*(field.name for field in message.DESCRIPTOR.fields), *extra]
                self._fault(key, path, f"there is no field `{name}`", _hint(name, known))
            elif field.name in seen:
                self._fault(key, path, f"`{name}` is given twice", "remove one of the two")
            elif value.tag != _NULL:
                seen.add(field.name)
                yield field, value

    def _fill_field(self, field: FieldDescriptor, node: Node, message: Message, path: str) -> None:
        field, node = _share(field, message, node)
        group = field.containing_oneof
        before = message.WhichOneof(group.name) if group is not None else None
        if before is not None:
            self._fault(node, path, f"`{field.name}` and `{before}` exclude each other")
        elif not _is_own_message(field):
            self._fill_leaf(field, node, message, path)
        elif not field.is_repeated:
            inner: Message = getattr(message, field.name)
            inner.SetInParent()
            self.fill(node, inner, path)
        elif not isinstance(node, yaml.SequenceNode):
            self._fault(node, path, "a list is expected here")
        else:
            for index, element in enumerate(node.value):
                self.fill(element, getattr(message, field.name).add(), f"{path}[{index}]")

    def _fill_leaf(self, field: FieldDescriptor, node: Node, message: Message, path: str) -> None:
        known = len(self.faults)
        self._check_json(node, path, exact=_is_exact(field))
        if len(self.faults) > known:
            return
        try:
            value = self._source.value(node)
            text = _text_beside(field, message, value)
            json_format.ParseDict({field.name: value}, message)
            if text:
                setattr(message, f"{field.name}_json", text)
        except NotJson as error:
            self._fault(node, path, str(error))
        except json_format.ParseError:
            self._fault(node, path, _wanted(field, node), _enum_hint(field, node))
        except yaml.YAMLError as error:
            self._fault(node, path, str(error).splitlines()[0])

    def _check_json(self, node: Node, path: str, *, exact: bool) -> None:
        """Note what JSON does not have: keys that are no texts or come twice, sets, bytes.

        With `exact` also what is not the same value to all readers.
        """
        if id(node) in self._checked:  # by another name, maybe inside itself
            return
        self._checked.add(id(node))
        unclear = ambiguity(node) if exact else None
        if unclear is not None:
            self._fault(node, path, *unclear)
        if isinstance(node, yaml.MappingNode) and node.tag == _MAP:
            for key, value in self._texts(node, path):
                self._check_json(value, f"{path}.{key}", exact=exact)
        elif isinstance(node, yaml.SequenceNode) and node.tag == _SEQ:
            for index, element in enumerate(node.value):
                self._check_json(element, f"{path}[{index}]", exact=exact)
        elif node.tag not in _SCALARS:
            self._fault(node, path, f"JSON has no `{node.tag.replace(_TAG, '!!')}`")

    def _texts(self, node: yaml.MappingNode, path: str) -> Iterator[tuple[str, Node]]:
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value) if isinstance(key, yaml.ScalarNode) else ""
            if key.tag not in _KEYS:
                self._fault(key, path, "a key has to be a text", "put it in quotes" if name else "")
            elif name in seen:
                self._fault(key, path, f"`{name}` is given twice", "remove one of the two")
            else:
                seen.add(name)
                yield name, value

    def _fault(self, node: Node, path: str, message: str, hint: str = "") -> None:
        self.faults.append(Fault(line_of(node), path, message, hint))


def _share(field: FieldDescriptor, message: Message, node: Node) -> tuple[FieldDescriptor, Node]:
    """Return what a node such as `1%` fills: the field of percents beside one of numbers."""
    fields = cast("dict[str, FieldDescriptor]", message.DESCRIPTOR.fields_by_name)
    percent = fields.get(f"{field.name}_percent")
    if percent is None or not isinstance(node, yaml.ScalarNode) or not node.value.endswith("%"):
        return field, node
    number = node.value[:-1].rstrip()
    return percent, yaml.ScalarNode(f"{_TAG}float", number, node.start_mark, node.end_mark)


def _is_own_message(field: FieldDescriptor) -> bool:
    """Whether a field holds a message whose fields are keys, and not a map or a plain value."""
    kind = field.message_type
    return (
        kind is not None
        and not kind.GetOptions().map_entry
        and not kind.full_name.startswith(_WELL_KNOWN)
    )


def _is_exact(field: FieldDescriptor) -> bool:
    """Whether a field holds numbers, or JSON; others say by their type what is meant."""
    kind = field.message_type
    return field.cpp_type in _NUMBERS or (kind is not None and kind.full_name in _JSON)


def _text_beside(field: FieldDescriptor, message: Message, value: object) -> str:
    """Return the text of a value that the field cannot hold as it is; empty if it can.

    Raises NotJson.
    """
    if f"{field.name}_json" not in message.DESCRIPTOR.fields_by_name:
        return ""
    text = compact(cast("JsonValue", value))
    exact = exact_in_protobuf(parse_strict(text, levels=PROTOBUF_LEVELS))
    return "" if exact else text


def _find_field(message: Message, name: str) -> FieldDescriptor | None:
    """Both of protobuf's spellings are taken: `output_schema` and `outputSchema`."""
    fields = cast("list[FieldDescriptor]", message.DESCRIPTOR.fields)
    return next((field for field in fields if name in (field.name, field.json_name)), None)


def _hint(name: str, known: list[str]) -> str:
    if name == "<<":
        return "write the fields out; `<<` merges only inside of JSON"
    return did_you_mean(name, known)


def _wanted(field: FieldDescriptor, node: Node) -> str:
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        return "a mapping is expected here"
    if field.is_repeated and not isinstance(node, yaml.SequenceNode):
        return "a list is expected here"
    if kind is not None:
        return f"{_WELL_KNOWN_FORMS.get(kind.name, 'another value')} is expected here"
    return f"{_FORMS.get(field.cpp_type, 'another value')} is expected here"


def _enum_hint(field: FieldDescriptor, node: Node) -> str:
    if field.enum_type is None or not isinstance(node, yaml.ScalarNode):
        return ""
    known = field.enum_type.values_by_name
    return did_you_mean(node.value, known) or f"there are: {', '.join(known)}"
