"""Narrowing a JSON schema to the keywords that a provider takes.

Other keywords move into the description of their place, where the model can follow them, and the
gateway validates the reply against the whole schema. So a narrowed schema may allow more than the
whole one; it never forbids what a reply needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast
from urllib.parse import unquote

from jsonvalues import NothingThere, PointerMalformed, at, compact

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from jsonvalues import Json, JsonObject

_OF_TYPE: Mapping[str, frozenset[str]] = {
    "object": frozenset(
        {
            "properties",
            "required",
            "additionalProperties",
            "minProperties",
            "maxProperties",
            "propertyNames",
            "dependentRequired",
            "dependentSchemas",
            "propertyOrdering",
        }
    ),
    "array": frozenset(
        {
            "items",
            "prefixItems",
            "minItems",
            "maxItems",
            "uniqueItems",
            "contains",
            "minContains",
            "maxContains",
        }
    ),
    "string": frozenset({"minLength", "maxLength", "format"}),
    "number": frozenset(
        {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}
    ),
}
_SILENT = ("$schema", "$comment", "$id", "$anchor", "$dynamicAnchor", "$defs", "definitions")
_COMBINING = ("anyOf", "oneOf", "allOf")
_STRUCTURE = ("properties", "items", "prefixItems")
_MOST_MERGED = 20_000  # members of schemas that are read to merge them: 10 ms


class Inexpressible(Exception):
    """The provider's keywords cannot express an essential part of the schema."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """The schema keywords that a provider takes."""

    formats: frozenset[str]
    bounds: frozenset[str]
    """Keywords of numbers and arrays that stay as they are."""
    any_value: bool
    """Whether a place may be left open for any value."""
    open_objects: bool
    """Whether an object may have members that it does not name."""
    tuples: bool
    """Whether prefixItems is taken."""
    literals: tuple[type, ...]
    """Of which types the values of an enum may be; a constant is an enum of one."""
    constants: bool
    """Whether `const` is taken."""
    least_items: tuple[int, ...] | None
    """Which values minItems may have; None for any."""


def narrowed(definition: JsonObject, dialect: Dialect) -> JsonObject:
    """Return what to send of a schema. Raises Inexpressible."""
    return _Narrowing(definition, dialect).whole()


class _Narrowing:
    def __init__(self, root: JsonObject, dialect: Dialect) -> None:
        self._root = root
        self._dialect = dialect
        self._definitions: dict[str, Json] = {}
        self._merged_members = 0

    def whole(self) -> JsonObject:
        made = self._node(self._root)
        return {**made, "$defs": self._definitions} if self._definitions else made

    def _node(self, given: Json) -> JsonObject:
        if given is True:
            given = {}
        if not isinstance(given, dict) or "$dynamicRef" in given:
            raise Inexpressible
        rest = {name: value for name, value in given.items() if name not in _SILENT}
        if "$ref" in rest:
            return {"$ref": self._reference(str(rest["$ref"]))}
        if "allOf" in rest:
            return self._node(self._merged(rest))
        types = _types(rest)
        if len(types) > 1 and not ("enum" in rest or "const" in rest):
            return self._of_types(rest, types)
        return self._of_type(rest, types[0] if types else "")

    def _of_types(self, rest: JsonObject, types: tuple[str, ...]) -> JsonObject:
        """Return alternatives, one for each type, with the keywords that mean something to it."""
        rest.pop("type")
        alternatives: list[Json] = []
        for kind in types:
            own = {name: rest[name] for name in _keywords(kind) if name in rest}
            alternatives.append(self._node({"type": kind, **own}))
        for name in (name for kind in types for name in _keywords(kind)):
            rest.pop(name, None)
        return self._described({"anyOf": alternatives}, rest)

    def _of_type(self, rest: JsonObject, kind: str) -> JsonObject:
        made: JsonObject = {}
        rest.pop("type", None)
        alternatives = self._alternatives(rest, kind)
        if self._literal(rest, made):
            if not self._dialect.constants and kind:
                made["type"] = kind
        elif alternatives:
            made["anyOf"] = alternatives
        elif kind:
            made["type"] = kind
            self._typed(rest, made, kind)
        elif not self._dialect.any_value:
            raise Inexpressible
        return self._described(made, rest)

    def _typed(self, rest: JsonObject, made: JsonObject, kind: str) -> None:
        if kind == "object":
            self._object(rest, made)
        elif kind == "array":
            self._array(rest, made)
        elif kind == "string" and rest.get("format") in self._dialect.formats:
            made["format"] = rest.pop("format")
        for name in _keywords(kind) & self._dialect.bounds & rest.keys():
            made[name] = rest.pop(name)

    def _literal(self, rest: JsonObject, made: JsonObject) -> bool:
        """Take over an enum or a constant; return whether there was one."""
        literals, values = self._dialect.literals, rest.get("enum")
        if isinstance(values, list) and values and all(_is(value, literals) for value in values):
            made["enum"] = rest.pop("enum")
        if "const" in rest and _is(rest["const"], literals):
            constant, plain = rest.pop("const"), self._dialect.constants
            made["const" if plain else "enum"] = constant if plain else [constant]
        return bool(made)

    def _alternatives(self, rest: JsonObject, kind: str) -> list[Json]:
        """Return alternatives; what says itself how it is built has them in its description."""
        name = next((name for name in ("anyOf", "oneOf") if name in rest), "")
        given = rest.get(name)
        if not isinstance(given, list) or any(name in rest for name in _STRUCTURE):
            return []
        del rest[name]
        return [self._node(_with_type(each, kind)) for each in given]

    def _object(self, rest: JsonObject, made: JsonObject) -> None:
        declared = "properties" in rest
        properties = rest.pop("properties", {})
        named = properties if isinstance(properties, dict) else {}
        required = rest.get("required")
        wanted = [name for name in required if name in named] if isinstance(required, list) else []
        others = rest.pop("additionalProperties", True)
        if not self._dialect.open_objects:
            any_object = not named and others is not False
            if any_object or (isinstance(required, list) and len(wanted) < len(required)):
                raise Inexpressible
            others = False
        elif isinstance(others, dict):
            others = self._node(others)
        if declared or not self._dialect.open_objects:
            made["properties"] = {name: self._node(each) for name, each in named.items()}
        if others is not True:
            made["additionalProperties"] = others
        if isinstance(required, list) and len(wanted) == len(required):
            rest.pop("required")
        if wanted:
            made["required"] = [*wanted]

    def _array(self, rest: JsonObject, made: JsonObject) -> None:
        dialect, items = self._dialect, rest.get("items")
        if items is not None and items is not False:
            del rest["items"]
            if items is not True and items != {}:
                made["items"] = self._node(items)
        prefix = rest.get("prefixItems")
        if dialect.tuples and isinstance(prefix, list):
            del rest["prefixItems"]
            made["prefixItems"] = [self._node(each) for each in prefix]
        least = rest.get("minItems")
        if least is not None and (dialect.least_items is None or least in dialect.least_items):
            made["minItems"] = rest.pop("minItems")

    def _described(self, made: JsonObject, rest: JsonObject) -> JsonObject:
        """Add title and description, and to the latter what else was asked for."""
        description = rest.pop("description", "")
        if title := rest.pop("title", ""):
            made["title"] = title
        more = ", ".join(f"{name}: {compact(value)}" for name, value in rest.items())
        words = [description if isinstance(description, str) else "", f"{{{more}}}" if more else ""]
        if text := "\n\n".join(filter(None, words)):
            made["description"] = text
        return made

    def _reference(self, reference: str) -> str:
        """Return a reference into `$defs`, where what it leads to is put."""
        if reference == "#":
            return reference
        name = reference.removeprefix("#/$defs/")
        if name == reference or "/" in name:
            name = reference.removeprefix("#/").replace("/", ".")
        if name not in self._definitions:
            self._definitions[name] = {}  # before it refers to itself
            self._definitions[name] = self._node(self._target(reference))
        return f"#/$defs/{name}"

    def _target(self, reference: str) -> Json:
        if not reference.startswith("#/"):
            raise Inexpressible
        try:
            return cast("Json", at(self._root, unquote(reference[1:])))
        except (NothingThere, PointerMalformed):
            raise Inexpressible from None

    def _merged(self, rest: JsonObject) -> JsonObject:
        """Return one schema in place of an `allOf`; where parts disagree, the last decides."""
        parts = rest.pop("allOf")
        merged: JsonObject = rest
        for part in parts if isinstance(parts, list) else []:
            merged = self._both(merged, part)
        return merged

    def _both(self, one: JsonObject, other: Json) -> JsonObject:
        self._merged_members += _size(one) + _size(other)
        if not isinstance(other, dict) or self._merged_members > _MOST_MERGED:
            raise Inexpressible
        if "$ref" in other:
            return self._both(one, self._target(str(other["$ref"])))
        both: JsonObject = {**one, **other}
        ours, theirs = one.get("properties"), other.get("properties")
        if isinstance(ours, dict) and isinstance(theirs, dict):
            properties: JsonObject = {**ours, **theirs}
            for name in ours.keys() & theirs:
                properties[name] = {"allOf": [ours[name], theirs[name]]}
            both["properties"] = properties
        ours, theirs = one.get("required"), other.get("required")
        if isinstance(ours, list) and isinstance(theirs, list):
            both["required"] = list(dict.fromkeys(map(str, [*ours, *theirs])))
        return both


def _size(node: Json) -> int:
    read = (node, node.get("properties"), node.get("required")) if isinstance(node, dict) else ()
    return 1 + sum(len(each) for each in read if isinstance(each, (dict, list)))


def _types(node: JsonObject) -> tuple[str, ...]:
    """Return the types that a node names, or the one that its keywords belong to."""
    names = node.get("type")
    if isinstance(names, str):
        return (names,)
    if isinstance(names, list) and names:
        return tuple(map(str, names))
    if any(name in node for name in (*_COMBINING, "enum", "const")):
        return ()
    return tuple(kind for kind, keywords in _OF_TYPE.items() if keywords & node.keys())[:1]


def _keywords(kind: str) -> frozenset[str]:
    return _OF_TYPE.get("number" if kind == "integer" else kind, frozenset())


def _with_type(alternative: Json, kind: str) -> Json:
    """Return an alternative with its own type, or else with that of its place."""
    if not kind or not isinstance(alternative, dict):
        return alternative
    typed = ("type", "$ref", "enum", "const", *_COMBINING)
    return (
        alternative if any(name in alternative for name in typed) else {"type": kind} | alternative
    )


def _is(value: Json, types: Iterable[type]) -> bool:
    return any(
        type(value) is kind or (kind is float and isinstance(value, float)) for kind in types
    )
