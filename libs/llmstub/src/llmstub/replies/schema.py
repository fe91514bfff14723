"""JSON schemas, read: references resolved, `allOf` merged, alternatives chosen.

Keywords that would need a search for a solution (`not`, `if`, `contains`, …) raise Refused(400), as
the providers refuse them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast
from urllib.parse import unquote

from llmstub.domain import Refused

if TYPE_CHECKING:
    from llmstub.domain import JsonObject

_REFUSED = (
    "not", "if", "contains", "patternProperties", "propertyNames", "dependentSchemas",
    "$dynamicRef",
)  # fmt: skip
_MOST_REFERENCES = 64
_HIGHER = {"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"}
_LOWER = {"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"}


def as_object(value: object) -> JsonObject:
    """Return a schema as an object: `true` allows everything. Raises Refused."""
    if value is True:
        return {}
    if not isinstance(value, dict):
        raise Refused(400, f"schema: expected an object, found {value!r}", "schema")
    return cast("JsonObject", value)


def objects(schema: JsonObject, name: str) -> dict[str, object]:
    value = schema.get(name)
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def elements(schema: JsonObject, name: str) -> list[object]:
    value = schema.get(name)
    return cast("list[object]", value) if isinstance(value, list) else []


def integer(schema: JsonObject, name: str) -> int | None:
    value = schema.get(name)
    return int(value) if isinstance(value, int | float) else None


def resolved(root: JsonObject, value: object) -> JsonObject:
    """Return a schema without `$ref` and `allOf`. Raises Refused."""
    schema = as_object(value)
    for _ in range(_MOST_REFERENCES):
        if "$ref" in schema:
            rest = {name: part for name, part in schema.items() if name != "$ref"}
            schema = merged(as_object(_target(root, schema["$ref"])), rest)
        elif "allOf" in schema:
            parts = elements(schema, "allOf")
            schema = {name: part for name, part in schema.items() if name != "allOf"}
            for part in parts:
                schema = merged(schema, resolved(root, part))
        else:
            break
    else:
        raise Refused(400, "schema: references in a circle", "schema")
    for name in _REFUSED:
        if name in schema:
            raise Refused(400, f"schema: {name} is not supported", "schema")
    return schema


def merged(one: JsonObject, other: JsonObject) -> JsonObject:
    """Return a schema that allows what both allow."""
    both = dict(one)
    for name, value in other.items():
        before = one.get(name)
        if before is None:
            both[name] = value
        elif name == "properties":
            both[name] = _merged_properties(objects(one, name), objects(other, name))
        elif name == "required":
            both[name] = list(dict.fromkeys([*elements(one, name), *elements(other, name)]))
        elif name == "enum":
            both[name] = [item for item in elements(one, name) if item in elements(other, name)]
        elif name in _HIGHER | _LOWER:
            choose = max if name in _HIGHER else min
            both[name] = choose(cast("float", before), cast("float", value))
        else:
            both[name] = value
    return both


def type_of(schema: JsonObject, *, terse: bool) -> str:
    """Return the type to make; null, where it is allowed, only when `terse`."""
    declared = schema.get("type")
    names = [declared] if isinstance(declared, str) else elements(schema, "type")
    types = [str(name) for name in names]
    if types:
        if terse and "null" in types:
            return "null"
        return next((name for name in types if name != "null"), "null")
    if "properties" in schema or "required" in schema or "additionalProperties" in schema:
        return "object"
    if "items" in schema or "prefixItems" in schema or "minItems" in schema:
        return "array"
    if "minimum" in schema or "maximum" in schema or "multipleOf" in schema:
        return "number"
    return "string"


def _merged_properties(one: dict[str, object], other: dict[str, object]) -> dict[str, object]:
    both = one | other
    for name in one.keys() & other.keys():
        both[name] = {"allOf": [one[name], other[name]]}
    return both


def _target(root: JsonObject, reference: object) -> object:
    path = str(reference)
    if not path.startswith("#"):
        raise Refused(400, f"schema: $ref {path!r} does not point into the schema", "schema")
    found: object = root
    for part in unquote(path[1:]).split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list):
            items = cast("list[object]", found)
            found = items[int(name)] if name.isdigit() and int(name) < len(items) else None
        else:
            found = objects({"": found}, "").get(name)
    if found is None:
        raise Refused(400, f"schema: $ref {path!r} points at nothing", "schema")
    return found
