"""Instances satisfy the schema they are made for; jsonschema is the judge."""

from __future__ import annotations

import re
from random import Random
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmstub.domain import RequestRefused
from llmstub.replies.prompts import RecognizedPrompt
from llmstub.replies.recordings import article_for
from llmstub.replies.schema_sampler import sample
from llmstub.replies.strings import matching

if TYPE_CHECKING:
    from llmstub.domain import JsonObject

JUDGE = jsonschema.Draft202012Validator
FORMATS = ["date", "date-time", "time", "email", "hostname", "ipv4", "ipv6", "uri", "uuid"]
PATTERNS = [
    r"^[A-Z]{2}-\d{4}$",
    r"^(draft|final)_v[1-9]\d*$",
    r"^[^\s@]+@[a-z]+\.(com|org)$",
    r"^\+?[0-9][0-9 ()-]{6,14}$",
    r"^(?:[a-f0-9]{2}:){5}[a-f0-9]{2}$",
    r"^\w+\W\S\D.*?$",
    r"^[\w.-]+$",
    r"^[ぁ-ん]{3}$",
    r"a|b|",
    r"\bword",
    r"^\$[0-9]+(\.[0-9]{2})?$",
]


def randomness(seed: int) -> Random:
    return Random(seed)  # noqa: S311 - repeatable, not secret


def made(schema: JsonObject, prompt: str = "Outline an article about tea.", seed: int = 0) -> Any:  # noqa: ANN401 - JSON
    facts, random = RecognizedPrompt.read(prompt), randomness(seed)
    return sample(schema, facts, article_for(facts, random), random, 300)


SCHEMAS: dict[str, dict[str, Any]] = {
    "constants": {"enum": ["a", 2, None]},
    "const": {"const": {"a": 1}},
    "integer": {"type": "integer", "minimum": 3, "exclusiveMaximum": 5},
    "negative": {"type": "integer", "maximum": -7},
    "multiple": {"type": "integer", "multipleOf": 2.5, "minimum": 11},
    "number": {"type": "number", "exclusiveMinimum": 0, "maximum": 0.001},
    "fraction": {"type": "number", "multipleOf": 0.25, "minimum": 0.3, "maximum": 0.6},
    "boolean": {"type": "boolean"},
    "null": {"type": "null"},
    "long": {"type": "string", "minLength": 400},
    "short": {"type": "string", "maxLength": 5},
    "exact": {"type": "string", "minLength": 12, "maxLength": 12},
    "many": {"type": "array", "items": {"type": "string"}, "minItems": 7},
    "few": {"type": "array", "items": {"type": "string"}, "maxItems": 1},
    "unique": {"type": "array", "items": {"enum": [1, 2, 3]}, "uniqueItems": True, "minItems": 3},
    "tuple": {
        "type": "array",
        "prefixItems": [{"type": "integer"}, {"const": "x"}],
        "items": False,
    },
    "nested": {"type": "array", "items": {"type": "array", "items": {"type": "boolean"}}},
    "map": {"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 4},
    "closed": {"type": "object", "properties": {"a": {}}, "additionalProperties": False},
    "required only": {"required": ["x", "y"]},
    "most": {
        "properties": {"a": {"type": "null"}, "b": {"type": "null"}, "c": {"type": "null"}},
        "required": ["c"],
        "maxProperties": 2,
    },
    "union": {"type": ["null", "integer"]},
    "any of": {"anyOf": [{"type": "null"}, {"type": "string", "minLength": 3}]},
    "one of": {
        "oneOf": [
            {"properties": {"k": {"const": "a"}}, "required": ["k"]},
            {"properties": {"k": {"const": "b"}}, "required": ["k"]},
        ]
    },
    "all of": {
        "allOf": [
            {"properties": {"a": {"type": "integer", "minimum": 2}}, "required": ["a"]},
            {"properties": {"a": {"maximum": 3}, "b": {"type": "string"}}, "required": ["b"]},
        ]
    },
    "reference": {
        "$defs": {"part/one": {"type": "object", "properties": {"n": {"type": "integer"}}}},
        "type": "array",
        "items": {"$ref": "#/$defs/part~1one"},
    },
    "tree": {
        "$ref": "#/$defs/node",
        "$defs": {
            "node": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "children": {
                        "type": "array",
                        "items": {"$ref": "#/$defs/node"},
                        "maxItems": 1,
                    },
                    "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                },
                "required": ["name", "children", "next"],
                "additionalProperties": False,
            }
        },
    },
    "anything": {},
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_an_instance_satisfies_its_schema(name: str) -> None:
    for seed in range(5):
        JUDGE(SCHEMAS[name]).validate(made(SCHEMAS[name], seed=seed))


@pytest.mark.parametrize("name", FORMATS)
def test_a_formatted_string_has_its_format(name: str) -> None:
    schema: JsonObject = {"type": "string", "format": name}
    JUDGE(schema, format_checker=JUDGE.FORMAT_CHECKER).validate(made(schema))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_string_matches_its_pattern(pattern: str) -> None:
    for seed in range(20):
        assert re.search(pattern, matching(pattern, randomness(seed)))


@pytest.mark.parametrize(
    "pattern", [r"(?=a)b", r"[", r"(a", r"a{9999}{9999}", r"\Bword", r"*", r"a)"]
)
def test_a_pattern_that_is_not_understood_is_refused(pattern: str) -> None:
    with pytest.raises(RequestRefused, match="pattern"):
        matching(pattern, randomness(0))


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer", "minimum": 5, "maximum": 4},
        {"type": "string", "minLength": 5, "maxLength": 4},
        {"type": "string", "pattern": "^ab$", "minLength": 5},
        {"type": "array", "items": {"const": 1}, "uniqueItems": True, "minItems": 2},
        {"type": "object", "properties": {"a": False}},
        {"not": {"type": "string"}},
        {"$ref": "#/$defs/missing"},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}},
        {
            "$ref": "#/$defs/a",
            "$defs": {"a": {"properties": {"a": {"$ref": "#/$defs/a"}}, "required": ["a"]}},
        },
        {"type": "colour"},
        {"enum": []},
    ],
)
def test_a_schema_that_cannot_be_satisfied_is_refused(schema: JsonObject) -> None:
    with pytest.raises(RequestRefused):
        made(schema)


def test_the_prompt_says_how_many() -> None:
    schema: JsonObject = {
        "type": "object",
        "properties": {"sections": {"type": "array", "items": {"type": "string"}, "maxItems": 6}},
    }

    assert len(made(schema, "Outline tea in five sections.")["sections"]) == 5
    assert len(made(schema, "Outline tea in nine or 12 sections.")["sections"]) == 6
    assert len(made(schema, "お茶の構成案を4つの節で。")["sections"]) == 4


def _leaves() -> st.SearchStrategy[dict[str, Any]]:
    bounds = st.integers(-50, 50)
    return st.one_of(
        st.just({"type": "boolean"}),
        st.just({"type": "string"}),
        st.builds(lambda a: {"type": "integer", "minimum": a}, bounds),
        st.builds(lambda a, n: {"type": "number", "minimum": a, "maximum": a + n},
                  bounds, st.integers(1, 9)),
        st.builds(lambda a, n: {"type": "string", "minLength": a, "maxLength": a + n},
                  st.integers(0, 60), st.integers(0, 60)),
        st.builds(lambda v: {"enum": v}, st.lists(st.text(max_size=5), min_size=1)),
    )  # fmt: skip


def _branches(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    names = st.sampled_from(["title", "heading", "points", "body", "score", "source", "日付"])
    arrays = st.builds(
        lambda items, a, n: {"type": "array", "items": items, "minItems": a, "maxItems": a + n},
        inner, st.integers(0, 4), st.integers(0, 4),
    )  # fmt: skip
    objects = st.builds(
        lambda properties, extra: {
            "type": "object",
            "properties": properties,
            "required": list(properties)[::2],
            "additionalProperties": extra,
        },
        st.dictionaries(names, inner, max_size=4),
        st.booleans(),
    )
    nullable = st.builds(lambda schema: {"anyOf": [schema, {"type": "null"}]}, inner)
    return st.one_of(arrays, objects, nullable)


@settings(max_examples=60, derandomize=True)
@given(st.recursive(_leaves(), _branches, max_leaves=8), st.integers(0, 99))
def test_any_combination_of_what_is_supported_is_satisfied(
    schema: dict[str, Any], seed: int
) -> None:
    JUDGE(schema).validate(made(schema, seed=seed))
