"""Reading JSON schemas: references resolved, `allOf` merged, alternatives chosen.

Keywords that would need a search for a solution (`not`, `if`, `contains`, …) raise
RequestRefused(400), as the providers refuse them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast
from urllib.parse import unquote

from llmstub.domain import RequestRefused

if TYPE_CHECKING:
    from llmstub.domain import JsonObject

_REFUSED = (
    "not", "if", "contains", "patternProperties", "propertyNames", "dependentSchemas",
    "$dynamicRef",
)  # fmt: skip
_MOST_REFERENCES = 64
_HIGHER = {"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"}
_LOWER = {"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"}
_TYPE_BY_KEYWORD = {
    **dict.fromkeys(("properties", "required", "additionalProperties"), "object"),
    **dict.fromkeys(("items", "prefixItems", "minItems"), "array"),
    **dict.fromkeys(("minimum", "maximum", "multipleOf"), "number"),
}


def as_object(value: object) -> JsonObject:
    """Return a schema as an object: `true` allows everything. Raises RequestRefused."""
    if value is True:
        return {}
    if not isinstance(value, dict):
        raise RequestRefused(400, f"schema: expected an object, found {value!r}", "schema")
    return cast("JsonObject", value)


def items(schema: JsonObject, name: str) -> list[object]:
    value = schema.get(name)
    return cast("list[object]", value) if isinstance(value, list) else []


def integer(schema: JsonObject, name: str, default: int) -> int:
    value = schema.get(name)
    return int(value) if isinstance(value, int | float) else default


def resolved(
    root: JsonObject, value: object, *, terse: bool, left: int = _MOST_REFERENCES
) -> JsonObject:
    """Return a schema without references and alternatives; `terse` prefers null.

    Raises RequestRefused.
    """
    if not left:
        raise RequestRefused(400, "schema: references in a circle", "schema")
    schema = as_object(value)
    for keyword in ("$ref", "allOf", "anyOf", "oneOf"):
        if keyword not in schema:
            continue
        rest = {name: part for name, part in schema.items() if name != keyword}
        parts = items(schema, keyword)
        if keyword == "$ref":
            parts = [_target(root, schema[keyword])]
        elif keyword != "allOf":
            parts = [_alternative(parts, keyword, terse=terse)]
        for part in parts:
            rest = _merged(rest, resolved(root, part, terse=terse, left=left - 1))
        schema = rest
    for name in _REFUSED:
        if name in schema:
            raise RequestRefused(400, f"schema: {name} is not supported", "schema")
    return schema


def type_of(schema: JsonObject, *, terse: bool) -> str:
    """Return the type to sample; null, where it is allowed, only when `terse`."""
    declared = schema.get("type")
    types = [declared] if isinstance(declared, str) else [*map(str, items(schema, "type"))]
    if not types:
        return next(
            (_TYPE_BY_KEYWORD[name] for name in _TYPE_BY_KEYWORD if name in schema), "string"
        )
    if terse and "null" in types:
        return "null"
    return next((name for name in types if name != "null"), "null")


def _alternative(parts: list[object], keyword: str, *, terse: bool) -> object:
    """Return the first alternative that is not null; null first when `terse`."""
    if not parts:
        raise RequestRefused(400, f"schema: {keyword} without alternatives", "schema")
    is_null = [as_object(part).get("type") == "null" for part in parts]
    return next(
        (part for part, null in zip(parts, is_null, strict=True) if null == terse), parts[0]
    )


def _merged(one: JsonObject, other: JsonObject) -> JsonObject:
    """Return a schema that allows what both allow."""
    both = one | other
    for name in one.keys() & other.keys():
        if name == "properties":
            first, second = cast("JsonObject", one[name]), cast("JsonObject", other[name])
            common = {
                each: {"allOf": [first[each], second[each]]} for each in first if each in second
            }
            both[name] = first | second | common
        elif name == "required":
            both[name] = [*dict.fromkeys([*items(one, name), *items(other, name)])]
        elif name == "enum":
            both[name] = [item for item in items(one, name) if item in items(other, name)]
        elif name in _HIGHER | _LOWER:
            stricter = max if name in _HIGHER else min
            both[name] = stricter(cast("float", one[name]), cast("float", other[name]))
    return both


def _target(root: JsonObject, reference: object) -> object:
    path = str(reference)
    if not path.startswith("#"):
        raise RequestRefused(400, f"schema: $ref {path!r} does not point into the schema", "schema")
    found: object = root
    for part in unquote(path[1:]).split("/")[1:]:
        found = _child(found, part.replace("~1", "/").replace("~0", "~"))
    if found is None:
        raise RequestRefused(400, f"schema: $ref {path!r} points at nothing", "schema")
    return found


def _child(node: object, name: str) -> object:
    if isinstance(node, list):
        return dict(enumerate(cast("list[object]", node))).get(int(name) if name.isdigit() else -1)
    return cast("JsonObject", node).get(name) if isinstance(node, dict) else None
