"""Which output schemas OpenAI is asked to be strict about: those that its strict mode takes."""

from __future__ import annotations

import pytest
from tests.unit.llm_gateway.test_provider_schemas import OBJECT, TEXT, Json, closed, delivered

from llm_gateway.providers.schemas import is_strict


@pytest.mark.parametrize("schema", delivered())
def test_openai_holds_the_model_to_the_delivered_example(schema: Json) -> None:
    assert is_strict(schema)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string"},
        {"type": "array", "items": TEXT},
        {"anyOf": [closed(a=TEXT)]},
        closed(a=TEXT) | {"anyOf": [closed(a=TEXT)]},
        {"type": "object"},
        {"type": "object", "properties": {"a": TEXT}, "required": ["a"]},
        OBJECT | {"properties": {"a": TEXT}, "required": []},
        closed(a={"oneOf": [TEXT, {"type": "null"}]}),
        closed(a={"allOf": [TEXT]}),
        closed(a={"not": TEXT}),
        closed(a={"type": "string", "format": "uri"}),
        closed(a={"type": "string", "minLength": 2}),
        closed(a={"type": "array"}),
        closed(a={"type": "array", "items": TEXT, "uniqueItems": True}),
        closed(a={"enum": ["a"]}),
        closed(a={"type": ["string", "integer"]}),
        closed(a={"$ref": "#/$defs/b", "description": "x"}) | {"$defs": {"b": TEXT}},
        closed(a={"$ref": "#/definitions/b"}) | {"definitions": {"b": TEXT}},
        closed(a=True),
        closed(a={}),
        closed(a=TEXT) | {"$schema": "https://json-schema.org/draft/2020-12/schema"},
        closed(a={"type": "integer", "enum": [*range(1001)]}),
        closed(a={"type": "string", "enum": [f"{n:0100}" for n in range(251)]}),
    ],
)
def test_openai_is_not_asked_to_be_strict_about_what_its_strict_mode_refuses(schema: Json) -> None:
    assert not is_strict(schema)


@pytest.mark.parametrize(
    "schema",
    [
        closed(),
        closed(a={"type": ["string", "null"]}),
        closed(a={"anyOf": [TEXT, {"type": "null"}]}),
        closed(a={"type": "integer", "minimum": 1, "multipleOf": 5}),
        closed(a={"type": "string", "format": "date-time"}),
        closed(a={"type": "string", "enum": ["a", "b"], "description": "x"}),
        closed(a={"$ref": "#"}),
        closed(a={"$ref": "#/$defs/b"}) | {"$defs": {"b": TEXT}},
        closed(a={"type": "string", "enum": [f"{n}" for n in range(251)]}),
    ],
)
def test_openai_is_asked_to_be_strict_about_what_it_takes(schema: Json) -> None:
    assert is_strict(schema)


@pytest.mark.parametrize(("levels", "strict"), [(10, True), (11, False)])
def test_openai_takes_ten_levels(levels: int, *, strict: bool) -> None:
    schema: Json = TEXT
    for _ in range(levels - 1):
        schema = closed(x=schema)

    assert is_strict(schema) is strict


@pytest.mark.parametrize("count", [0, 1, 51, 1000])
def test_openai_takes_thousands_of_properties(count: int) -> None:
    assert is_strict(closed(**{f"p{n}": TEXT for n in range(count)}))
