"""The part of an output schema that each provider takes, with its own SDK as the oracle."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from anthropic.lib._parse._transform import transform_schema
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.providers.schemas import for_claude, for_gemini

Json = dict[str, Any]

CLAUDE_KEYWORDS = {
    "$ref", "$defs", "type", "enum", "const", "anyOf", "allOf", "title", "description",
    "properties", "additionalProperties", "required", "items", "minItems", "format",
}  # fmt: skip
# google-genai 3.4.0, types.py, GenerateContentConfig.response_json_schema.
GEMINI_KEYWORDS = {
    "$id", "$defs", "$ref", "$anchor", "type", "format", "title", "description", "enum", "items",
    "prefixItems", "minItems", "maxItems", "minimum", "maximum", "anyOf", "oneOf", "properties",
    "additionalProperties", "required", "propertyOrdering",
}  # fmt: skip
OBJECT: Json = {"type": "object", "additionalProperties": False}


def closed(**properties: object) -> Json:
    return OBJECT | {"properties": properties, "required": [*properties]}


def nodes(schema: object) -> list[Json]:
    """Return every schema inside a schema."""
    if not isinstance(schema, dict):
        return []
    found = [schema]
    for name in ("properties", "$defs"):
        for child in schema.get(name, {}).values():
            found += nodes(child)
    for name in ("anyOf", "allOf", "prefixItems"):
        for child in schema.get(name, []):
            found += nodes(child)
    for name in ("items", "additionalProperties"):
        found += nodes(schema.get(name))
    return found


def undescribed(schema: object) -> object:
    """Return a schema without its descriptions, which the SDK writes in Python's way."""
    if isinstance(schema, list):
        return [undescribed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: {key: undescribed(each) for key, each in value.items()}
        if name in ("properties", "$defs")
        else undescribed(value)
        for name, value in schema.items()
        if name != "description"
    }


def delivered() -> list[Json]:
    """Return the output schemas of the delivered example."""
    file = Path(__file__).parents[3] / "examples" / "article" / "pipeline.yaml"
    steps = [step.get("llm", {}) for step in yaml.safe_load(file.read_text())["steps"]]
    return [step["output_schema"] for step in steps if "output_schema" in step]


TEXT: Json = {"type": "string"}
TREE = closed(name=TEXT, children={"type": "array", "items": {"$ref": "#/$defs/tree"}})
BOTH_TAKE: list[Json] = [
    *delivered(),
    closed(n={"type": "integer", "minimum": 1, "maximum": 10, "multipleOf": 3}),
    closed(s={"type": "string", "minLength": 2, "maxLength": 5, "format": "uri"}),
    closed(s={"type": "string", "format": "iri", "description": "Where."}),
    closed(a={"type": "array", "minItems": 1, "items": TEXT}),
    closed(a={"type": "array", "minItems": 3, "maxItems": 4, "uniqueItems": True, "items": TEXT}),
    closed(a={"type": "array"}),
    closed(u={"anyOf": [TEXT, {"type": "null"}]}),
    closed(u={"oneOf": [TEXT, {"type": "integer", "maximum": 3}]}),
    closed(e={"enum": ["a", 1, 2.5, True, None]}),
    closed(c={"const": "x", "title": "Kind"}),
    closed(b={"type": "boolean", "default": True}),
    {"type": "object", "properties": {"a": TEXT, "b": TEXT}, "required": ["a"]},
    {"$ref": "#/$defs/tree", "$defs": {"tree": TREE}},
]


@pytest.mark.parametrize("schema", BOTH_TAKE, ids=range(len(BOTH_TAKE)))
def test_claude_is_sent_what_its_own_sdk_sends(schema: Json) -> None:
    ours = for_claude(schema)

    assert undescribed(ours) == undescribed(transform_schema(copy.deepcopy(schema)))


def test_what_claude_is_not_sent_stands_in_the_description() -> None:
    schema = {
        "type": "array",
        "description": "Points.",
        "items": TEXT,
        "minItems": 2,
        "maxItems": 4,
    }
    sent: Any = for_claude(closed(points=schema))

    points = sent["properties"]["points"]
    assert points["description"] == "Points.\n\n{minItems: 2, maxItems: 4}"


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": ["string", "null"]}, {"anyOf": [TEXT, {"type": "null"}]}),
        ({"type": ["string"]}, TEXT),
        (
            {"type": ["array", "null"], "items": TEXT, "title": "T"},
            {"anyOf": [{"type": "array", "items": TEXT}, {"type": "null"}], "title": "T"},
        ),
        ({"properties": {"a": TEXT}, "required": ["a"]}, closed(a=TEXT)),
        ({"items": TEXT}, {"type": "array", "items": TEXT}),
        ({"type": "string", "anyOf": [{"format": "date"}]}, {"anyOf": [TEXT | {"format": "date"}]}),
        ({"allOf": [closed(a=TEXT), {"properties": {"b": TEXT}, "required": ["b"]}]},
         closed(a=TEXT, b=TEXT)),
        ({"type": "array", "items": {}}, {"type": "array"}),
    ],
)  # fmt: skip
def test_claude_is_sent_what_its_sdk_has_no_words_for(schema: Json, expected: Json) -> None:
    assert for_claude(closed(x=schema)) == closed(x=expected)


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object"},
        {"type": "object", "additionalProperties": TEXT},
        closed(anything={}),
        closed(anything=True),
        closed(map={"type": "object", "additionalProperties": {"type": "integer"}}),
        {"type": "object", "required": ["unnamed"], "properties": {"a": TEXT}},
    ],
)
def test_what_a_narrowed_schema_would_make_empty_claude_is_asked_for_in_words(schema: Json) -> None:
    assert for_claude(schema) is None


def test_references_lead_into_defs_wherever_they_led_before() -> None:
    schema = closed(a={"$ref": "#/definitions/text"}, b={"$ref": "#/properties/a"})
    schema["definitions"] = {"text": {"type": "string", "minLength": 3}, "unused": {}}

    for sent in (for_claude(schema), for_gemini(schema)):
        assert sent is not None
        found = json.dumps(sent)
        assert "definitions/" not in found
        assert "unused" not in found
        names = [node["$ref"].removeprefix("#/$defs/") for node in nodes(sent) if "$ref" in node]
        definitions: Any = sent["$defs"]
        assert set(names) <= definitions.keys()


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"const": "x", "type": "string"}, {"enum": ["x"], "type": "string"}),
        ({"type": ["string", "null"]}, {"anyOf": [TEXT, {"type": "null"}]}),
        ({"oneOf": [TEXT, {"type": "null"}]}, {"anyOf": [TEXT, {"type": "null"}]}),
        (
            {"type": "object", "additionalProperties": {"type": "string", "maxLength": 3}},
            {"type": "object",
             "additionalProperties": {"type": "string", "description": "{maxLength: 3}"}},
        ),
        (
            {"type": "array", "prefixItems": [TEXT], "maxItems": 4},
            {"type": "array", "prefixItems": [TEXT], "maxItems": 4},
        ),
        ({"enum": [True]}, {"description": "{enum: [true]}"}),
        ({}, {}),
    ],
)  # fmt: skip
def test_gemini_is_sent_the_keywords_that_its_sdk_names(schema: Json, expected: Json) -> None:
    assert for_gemini(closed(x=schema)) == closed(x=expected)


@pytest.mark.parametrize("count", [0, 1, 51, 1000])
def test_every_provider_is_sent_all_properties(count: int) -> None:
    schema = closed(**{f"p{n}": {"type": "string", "maxLength": n} for n in range(count)})

    for sent in (for_claude(schema), for_gemini(schema)):
        assert sent is not None
        properties: Any = sent["properties"]
        assert len(properties) == count


def test_a_number_beyond_doubles_keeps_its_digits() -> None:
    schema = closed(n={"type": "integer", "minimum": 2**53 + 1})

    assert str(2**53 + 1) in json.dumps(for_claude(schema))
    assert str(2**53 + 1) in json.dumps(for_gemini(schema))


SCALARS = st.sampled_from(
    [
        {"type": "string", "minLength": 2},
        {"type": ["integer", "null"], "minimum": 2, "exclusiveMaximum": 9},
        {"enum": ["a", None]},
        {"const": 3},
        {"type": "string", "format": "email"},
        {},
        True,
    ]
)
SCHEMAS = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.builds(lambda a, b: {"anyOf": [a, b]}, inner, inner),
        st.builds(lambda a, b: {"allOf": [a, b]}, inner, inner),
        st.builds(lambda a: {"type": "array", "items": a, "minItems": 2, "contains": a}, inner),
        st.builds(
            lambda a, b: {"type": "object", "properties": {"a": a, "b": b}, "required": ["a"]},
            inner,
            inner,
        ),
        st.builds(lambda a: {"type": "object", "additionalProperties": a}, inner),
    ),
    max_leaves=6,
)


@given(SCHEMAS)
def test_nothing_but_what_the_provider_takes_is_ever_sent(schema: object) -> None:
    whole: Json = {"type": "object", "properties": {"x": schema}, "required": ["x"]}
    claude, gemini = for_claude(copy.deepcopy(whole)), for_gemini(copy.deepcopy(whole))

    for node in nodes(claude):
        assert node.keys() <= CLAUDE_KEYWORDS
        assert node.get("minItems", 0) in (0, 1)
        assert node.get("type") != "object" or node["additionalProperties"] is False
        assert not isinstance(node.get("type"), list)
    for node in nodes(gemini):
        assert node.keys() <= GEMINI_KEYWORDS
        assert not isinstance(node.get("type"), list)
