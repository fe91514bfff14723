"""What each provider refuses in the JSON schema of a reply.

Sources: anthropic 2.12.0 lib/_parse/_transform.py, and reports of 400 (req_llm#707,
vercel/ai#17197); OpenAI's guide on structured outputs, as five copies of it agree; google-genai
3.4.0 types.py, `response_json_schema`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from llmstub.domain import RequestRefused
from llmstub.formats.parameters import names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmstub.domain import JsonObject

_CLAUDE = names(
    """
    $ref $defs type enum const anyOf allOf title description properties additionalProperties
    required items minItems format
    """
)
_CLAUDE_FORMATS = names(
    """
    date-time time date duration email hostname uri ipv4 ipv6 uuid
    """
)
_CLAUDE_OPTIONAL, _CLAUDE_UNIONS = 24, 16
_STRICT = names(
    """
    $ref $defs type enum const anyOf title description properties additionalProperties required
    items minItems maxItems minimum maximum exclusiveMinimum exclusiveMaximum multipleOf format
    pattern
    """
)
_STRICT_FORMATS = _CLAUDE_FORMATS - {"uri"}
_STRICT_PROPERTIES, _STRICT_LEVELS, _STRICT_ENUMS, _STRICT_CHARACTERS = 5_000, 10, 1_000, 120_000
_LONG_ENUM, _LONG_ENUM_CHARACTERS = 250, 15_000
_GEMINI = names(
    """
    $id $defs $ref $anchor type format title description enum items prefixItems minItems
    maxItems minimum maximum anyOf oneOf properties additionalProperties required
    propertyOrdering
    """
)


def check_claude(schema: JsonObject) -> None:
    """Raise RequestRefused for what Claude's structured outputs do not take."""
    optional = unions = 0
    for node in _nodes(schema):
        kind = node.get("type")
        for keyword in node.keys() - _CLAUDE:
            raise _claude(f"For '{kind or 'any'}' type, property '{keyword}' is not supported")
        if node.get("minItems", 0) not in (0, 1):
            raise _claude("'minItems' values other than 0 or 1 are not supported")
        if node.get("format") not in (None, *_CLAUDE_FORMATS):
            raise _claude(f"string format '{node['format']}' is not supported")
        properties = _object(node, "properties")
        if (kind == "object" or properties) and node.get("additionalProperties") is not False:
            raise _claude("For 'object' type, 'additionalProperties' must be set to false")
        if not node.keys() & {"type", "anyOf", "allOf", "enum", "const", "$ref"}:
            raise _claude("Schema type is required")
        optional += len(properties.keys() - set(_strings(node, "required")))
        unions += "anyOf" in node or isinstance(kind, list)
    if _refers_to_itself(schema):
        raise _claude("Circular reference detected in schema definitions")
    if optional > _CLAUDE_OPTIONAL:
        raise _claude(f"Schemas contain too many optional parameters ({optional})")
    if unions > _CLAUDE_UNIONS:
        raise _claude(f"Schemas contain too many parameters with union types ({unions})")


def check_strict(schema: JsonObject, field: str) -> None:
    """Raise RequestRefused for what OpenAI's strict mode does not take."""
    if schema.get("type") != "object":
        raise _strict(f"schema must be of type 'object', got {schema.get('type')!r}", field)
    if "anyOf" in schema:
        raise _strict("'anyOf' is not permitted at the root", field)
    properties = enums = characters = 0
    for node in _nodes(schema):
        for keyword in node.keys() - _STRICT:
            raise _strict(f"'{keyword}' is not permitted", field)
        if "$ref" in node and node.keys() - {"$ref", "$defs"}:
            raise _strict("$ref cannot have keywords beside it", field)
        if not node.keys() & {"type", "anyOf", "$ref"}:
            raise _strict("schema must have a 'type' key", field)
        if node.get("format") not in (None, *_STRICT_FORMATS):
            raise _strict(f"'{node['format']}' is not a valid format", field)
        _check_object(node, field)
        if node.get("type") == "array" and "items" not in node:
            raise _strict("array schema missing items", field)
        texts = _strings(node, "enum")
        if len(texts) > _LONG_ENUM and sum(map(len, texts)) > _LONG_ENUM_CHARACTERS:
            raise _strict("an enum is too long", field)
        properties += len(_object(node, "properties"))
        enums += len(_list(node, "enum"))
        characters += sum(map(len, [*texts, *_object(node, "properties")]))
    levels = _levels(schema)
    if properties > _STRICT_PROPERTIES or enums > _STRICT_ENUMS or characters > _STRICT_CHARACTERS:
        raise _strict("the schema is too large", field)
    if levels > _STRICT_LEVELS:
        words = f"{levels} levels of nesting exceeds limit of {_STRICT_LEVELS}"
        raise _strict(words, field)


def check_gemini(schema: JsonObject) -> None:
    """Raise RequestRefused for keywords that are not among those that Gemini names."""
    for node in _nodes(schema):
        for keyword in node.keys() - _GEMINI:
            raise RequestRefused(400, f"Invalid JSON schema: unsupported keyword '{keyword}'")
        if "$ref" in node and any(not keyword.startswith("$") for keyword in node):
            raise RequestRefused(400, "Invalid JSON schema: $ref with other keywords")
        if any(isinstance(value, bool) or value is None for value in _list(node, "enum")):
            raise RequestRefused(400, "Invalid JSON schema: enum values must be strings or numbers")


def _check_object(node: JsonObject, field: str) -> None:
    kind, properties = node.get("type"), _object(node, "properties")
    if kind != "object" and not (isinstance(kind, list) and "object" in kind) and not properties:
        return
    if node.get("additionalProperties") is not False:
        raise _strict("'additionalProperties' is required to be supplied and to be false", field)
    missing = [name for name in properties if name not in _strings(node, "required")]
    if missing:
        raise _strict(
            f"'required' is required to be supplied and to be an array including every key in"
            f" properties. Missing {missing[0]!r}",
            field,
        )


def _nodes(schema: object) -> Iterator[JsonObject]:
    """Yield every schema inside a schema."""
    if not isinstance(schema, dict):
        return
    node = cast("JsonObject", schema)
    yield node
    for child in _children(node):
        yield from _nodes(child)


def _children(node: JsonObject) -> Iterator[object]:
    for name in ("properties", "$defs"):
        yield from _object(node, name).values()
    for name in ("anyOf", "oneOf", "allOf", "prefixItems"):
        yield from _list(node, name)
    for name in ("items", "additionalProperties"):
        yield node.get(name)


def _levels(schema: object) -> int:
    if not isinstance(schema, dict):
        return 0
    node = cast("JsonObject", schema)
    return 1 + max(map(_levels, _children(node)), default=0)


def _refers_to_itself(schema: JsonObject) -> bool:
    definitions = _object(schema, "$defs")
    leads = {
        name: {str(node["$ref"]).rpartition("/")[2] for node in _nodes(part) if "$ref" in node}
        for name, part in definitions.items()
    }
    for name, reached in leads.items():
        visited: set[str] = set()
        waiting = set(reached)
        while waiting:
            visited |= waiting
            waiting = {each for found in waiting for each in leads.get(found, set())} - visited
        if name in visited:
            return True
    return any(node.get("$ref") == "#" for node in _nodes(schema))


def _object(node: JsonObject, name: str) -> JsonObject:
    value = node.get(name)
    return cast("JsonObject", value) if isinstance(value, dict) else {}


def _list(node: JsonObject, name: str) -> list[object]:
    value = node.get(name)
    return cast("list[object]", value) if isinstance(value, list) else []


def _strings(node: JsonObject, name: str) -> list[str]:
    return [value for value in _list(node, name) if isinstance(value, str)]


def _claude(problem: str) -> RequestRefused:
    return RequestRefused(400, f"output_config.format.schema: {problem}")


def _strict(problem: str, field: str) -> RequestRefused:
    words = f"Invalid schema for response_format: In context=(), {problem}."
    return RequestRefused(400, words, field, code="invalid_json_schema")
