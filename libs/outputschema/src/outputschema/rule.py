"""Whether a schema can be used at all. The work is linear in the schema's size."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import jsonschema_rs
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Json: TypeAlias = Any  # what a JSON parser returns

BYTES = 65_536
"""The most bytes of a schema in its shortest form."""

VALUES = 5_000
"""The most JSON values that a schema may be made of."""

DEPTH = 64

NOTHING_OUTSIDE: Registry[Any] = Registry[Any]()
"""What references may lead to besides the schema itself: nothing is ever fetched."""

REFERENCES = ("$ref", "$dynamicRef")
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_OF_NAMES = ("properties", "dependentSchemas", "$defs", "definitions")
_OF_VALUES = ("enum", "const", "default", "examples")
_UNSUPPORTED = {
    "pattern": "a matcher without a time limit could be held up by one reply",
    "patternProperties": "a matcher without a time limit could be held up by one reply",
    "unevaluatedProperties": "use additionalProperties",
    "unevaluatedItems": "use items",
}


class SchemaUnusable(Exception):
    """A schema that cannot be used for validation; the message says why."""


def check_schema(definition: Mapping[str, object]) -> None:
    """Raise SchemaUnusable unless the schema is well formed, bounded and self-contained."""
    plain: dict[str, Json] = json.loads(_shortest(definition))  # of Python's own types
    try:
        jsonschema_rs.meta.validate({**plain, "$schema": _DIALECT})
    except jsonschema_rs.ValidationError as error:
        place = "".join(f"/{part}" for part in error.instance_path)[:100]
        place = place or "the root"
        raise SchemaUnusable(f"it is no JSON schema: {place} breaks the rule of schemas") from None
    resolver = NOTHING_OUTSIDE.resolver_with_root(DRAFT202012.create_resource(definition))
    for keyword, value in _keywords(definition):
        if keyword in _UNSUPPORTED:
            raise SchemaUnusable(f"{keyword} is not supported: {_UNSUPPORTED[keyword]}")
        if keyword in REFERENCES:
            try:
                resolver.lookup(str(value))
            except Unresolvable:
                raise SchemaUnusable(f"{str(value)[:100]} leads nowhere inside it") from None


def _shortest(definition: Mapping[str, object]) -> str:
    """Return the schema's text. Raises SchemaUnusable, before all of it is looked at, if too large.

    A number that no double holds is none that a value could be held to.
    """
    level: list[Json] = [definition]
    values = depth = 0
    while level:
        depth += 1
        values += len(level)
        if depth > DEPTH:
            raise SchemaUnusable(f"it is nested more than {DEPTH} levels deep")
        if values > VALUES:
            raise SchemaUnusable(f"it holds more than {VALUES:,} JSON values")
        level = [child for value in level for child in _children(value)]
    try:
        text = json.dumps(definition, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except ValueError:
        raise SchemaUnusable("it holds a number that is too large") from None
    if (size := len(text.encode(errors="surrogatepass"))) > BYTES:
        raise SchemaUnusable(f"it takes {size:,} bytes, at most {BYTES:,} are possible")
    return text


def _children(value: object) -> list[Json]:
    if isinstance(value, dict):
        return list(cast("dict[str, Json]", value).values())
    return cast("list[Json]", value) if isinstance(value, list) else []


def _keywords(node: object) -> Iterator[tuple[str, Json]]:
    """Yield every keyword with its value; the names of properties are none."""
    if isinstance(node, dict):
        for keyword, value in cast("dict[str, Json]", node).items():
            if keyword in _OF_NAMES:
                yield from _keywords(_children(value))
            elif keyword not in _OF_VALUES:
                yield keyword, value
                yield from _keywords(value)
    elif isinstance(node, list):
        for child in cast("list[Json]", node):
            yield from _keywords(child)
