"""What each provider is sent of an output schema, as its own SDK would.

A schema that a provider does not take goes into the prompt: the gateway validates every reply
against the whole schema anyway.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jsonvalues import compact
from llm_gateway.domain.requests import SchemaMode
from llm_gateway.providers.narrowing import Dialect, Inexpressible, narrowed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from jsonvalues import Json, JsonObject
    from llm_gateway.domain.requests import Prompt

_INSTRUCTIONS = (
    "Reply with one JSON value and nothing else: no code fence, no words before or after it."
    " It must fit this JSON Schema:\n"
)
# anthropic 2.12.0, lib/_parse/_transform.py.
_CLAUDE = Dialect(
    formats=frozenset(
        {
            "date-time",
            "time",
            "date",
            "duration",
            "email",
            "hostname",
            "uri",
            "ipv4",
            "ipv6",
            "uuid",
        }
    ),
    bounds=frozenset(),
    any_value=False,
    open_objects=False,
    tuples=False,
    literals=(str, int, float, bool, type(None)),
    constants=True,
    least_items=(0, 1),
)
# google-genai 3.4.0, types.py: response_json_schema names the keywords; the formats of strings are
# those of ai.google.dev's page on structured output.
_GEMINI = Dialect(
    formats=frozenset({"date-time", "date", "time"}),
    bounds=frozenset({"minItems", "maxItems", "minimum", "maximum"}),
    any_value=True,
    open_objects=True,
    tuples=True,
    literals=(str, int, float),
    constants=False,
    least_items=None,
)
# What OpenAI's strict mode takes: its guide on structured outputs, as five copies of it agree.
_STRICT = frozenset(
    {
        "type",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "enum",
        "const",
        "anyOf",
        "title",
        "description",
        "format",
        "multipleOf",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "minItems",
        "maxItems",
    }
)
_STRICT_FORMATS = _CLAUDE.formats - {"uri"}
_STRICT_PROPERTIES, _STRICT_LEVELS, _STRICT_ENUM_VALUES = 5_000, 10, 1_000
_STRICT_CHARACTERS, _LONG_ENUM, _LONG_ENUM_CHARACTERS = 120_000, 250, 15_000


def for_claude(definition: JsonObject) -> JsonObject | None:
    """Return the schema for `output_config.format`; None where it can only go into the prompt."""
    return _narrowed(definition, _CLAUDE)


def for_gemini(definition: JsonObject) -> JsonObject | None:
    """Return the schema for `responseJsonSchema`; None where it can only go into the prompt."""
    return _narrowed(definition, _GEMINI)


def is_strict(definition: JsonObject) -> bool:
    """Whether OpenAI's strict mode takes the schema as it is. It refuses any other with 400."""
    try:
        _Strict(definition).check()
    except Inexpressible:
        return False
    return True


def prompt_and_schema(
    prompt: Prompt, narrow: Callable[[JsonObject], JsonObject | None]
) -> tuple[str, JsonObject | None]:
    """Return the system prompt, and the schema to send beside it unless the prompt contains it."""
    if prompt.output_schema is None:
        return prompt.system, None
    definition = prompt.output_schema.definition
    sent = None if prompt.schema_mode is SchemaMode.IN_PROMPT else narrow(definition)
    if sent is not None:
        return prompt.system, sent
    return "\n\n".join(filter(None, (prompt.system, _instructions(definition)))), None


def for_openai(definition: JsonObject) -> JsonObject | None:
    """Return the schema itself: OpenAI takes any where `strict` is false."""
    return definition


def _instructions(definition: JsonObject) -> str:
    """Return the text that asks a model to follow a schema."""
    return _INSTRUCTIONS + compact(definition)


def _narrowed(definition: JsonObject, dialect: Dialect) -> JsonObject | None:
    try:
        return narrowed(definition, dialect)
    except (Inexpressible, RecursionError):
        return None


class _Strict:
    """Walks a schema; raises Inexpressible at what strict mode refuses."""

    def __init__(self, root: JsonObject) -> None:
        self._root = root
        self._definitions = dict(_named(root.get("$defs", {})))
        self._properties = self._enum_values = self._characters = 0

    def check(self) -> None:
        root = {name: value for name, value in self._root.items() if name != "$defs"}
        if root.get("type") != "object" or "anyOf" in root:
            raise Inexpressible
        self._node(root, 1)
        for name, node in self._definitions.items():
            self._characters += len(name)
            self._node(node, 1)
        if (
            self._properties > _STRICT_PROPERTIES
            or self._enum_values > _STRICT_ENUM_VALUES
            or self._characters > _STRICT_CHARACTERS
        ):
            raise Inexpressible

    def _node(self, node: Json, level: int) -> None:
        if not isinstance(node, dict) or level > _STRICT_LEVELS:
            raise Inexpressible
        if "$ref" in node:
            self._reference(node)
            return
        if not node.keys() <= _STRICT or not ("type" in node or "anyOf" in node):
            raise Inexpressible
        types = _type_names(node.get("type"))
        if ("object" in types) != ("properties" in node):
            raise Inexpressible
        if ("array" in types) != ("items" in node):
            raise Inexpressible
        if "object" in types:
            self._object(node, level)
        if "array" in types:
            self._node(node["items"], level + 1)
        for each in _listed(node.get("anyOf", [])):
            self._node(each, level + 1)
        if "format" in node and node["format"] not in _STRICT_FORMATS:
            raise Inexpressible
        self._literals(node)

    def _object(self, node: Mapping[str, Json], level: int) -> None:
        properties = dict(_named(node["properties"]))
        required = _listed(node.get("required", []))
        if node.get("additionalProperties") is not False or set(map(str, required)) != {
            *properties
        }:
            raise Inexpressible
        self._properties += len(properties)
        for name, each in properties.items():
            self._characters += len(name)
            self._node(each, level + 1)

    def _reference(self, node: Mapping[str, Json]) -> None:
        reference = str(node["$ref"])
        name = reference.removeprefix("#/$defs/")
        if len(node) > 1 or (reference != "#" and name not in self._definitions):
            raise Inexpressible

    def _literals(self, node: Mapping[str, Json]) -> None:
        values = _listed(node.get("enum", []))
        texts = [value for value in values if isinstance(value, str)]
        length = sum(map(len, texts))
        if len(texts) > _LONG_ENUM and length > _LONG_ENUM_CHARACTERS:
            raise Inexpressible
        self._enum_values += len(values)
        self._characters += length + len(str(node.get("const", "")))


def _type_names(value: Json) -> frozenset[str]:
    """Return the types of a node: one, or one and null."""
    names = frozenset(map(str, value)) if isinstance(value, list) else frozenset[str]()
    if isinstance(value, str):
        names = frozenset({value})
    if len(names - {"null"}) > 1:
        raise Inexpressible
    return names


def _named(value: Json) -> Iterator[tuple[str, Json]]:
    if not isinstance(value, dict):
        raise Inexpressible
    yield from value.items()


def _listed(value: Json) -> list[Json]:
    if not isinstance(value, list):
        raise Inexpressible
    return value
