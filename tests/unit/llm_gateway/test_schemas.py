"""The schema of a reply: what is refused beforehand, what a reply is held to."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from llm_gateway.domain.schemas import OutputSchema, SchemaMismatch
from servicekit.errors import RequestInvalid

if TYPE_CHECKING:
    from jsonvalues import JsonObject


@pytest.mark.parametrize(
    "definition",
    [
        {"type": "text"},
        {"properties": 5},
        {"$ref": "https://example.com/schema.json"},
        {"$ref": "#/$defs/missing"},
        {"properties": {"a": {"$ref": "file:///etc/passwd"}}},
        {"type": "string", "pattern": "(a+)+$"},
        {"patternProperties": {"x": {}}},
    ],
)
def test_a_schema_that_cannot_be_used_is_refused(definition: JsonObject) -> None:
    with pytest.raises(RequestInvalid) as refused:
        OutputSchema.parse(definition)

    assert refused.value.violations[0].field == "spec.output_schema"


def test_a_schema_nested_too_deeply_is_refused() -> None:
    definition: JsonObject = {}
    for _ in range(300):
        definition = {"properties": {"a": definition}}

    with pytest.raises(RequestInvalid):
        OutputSchema.parse(definition)


def test_a_property_may_be_called_pattern() -> None:
    OutputSchema.parse({"properties": {"pattern": {"type": "string"}}}).check({"pattern": "("})


def test_a_value_is_held_to_the_schema_and_not_quoted() -> None:
    schema = OutputSchema.parse({"properties": {"n": {"type": "integer"}}})
    schema.check({"n": 1})

    with pytest.raises(SchemaMismatch) as mismatch:
        schema.check({"n": "SECRET"})

    assert "SECRET" not in str(mismatch.value)


def test_references_inside_are_followed() -> None:
    schema = OutputSchema.parse(
        {
            "$defs": {"tree": {"type": "array", "items": {"$ref": "#/$defs/tree"}}},
            "$ref": "#/$defs/tree",
        }
    )
    schema.check([[], [[]]])

    with pytest.raises(SchemaMismatch):
        schema.check([[3]])


@pytest.mark.parametrize("width", [2, 3])
def test_a_schema_that_asks_for_endless_work_is_cut_short(width: int) -> None:
    definitions: JsonObject = {"d0": {"type": "integer"}}
    for level in range(1, 40):
        deeper: JsonObject = {"$ref": f"#/$defs/d{level - 1}"}
        definitions[f"d{level}"] = {"anyOf": [dict(deeper) for _ in range(width)]}
    schema = OutputSchema.parse({"$defs": definitions, "$ref": "#/$defs/d39"})
    began = time.process_time()  # what others do on the machine is none of its work

    with pytest.raises(SchemaMismatch):
        schema.check("no integer")

    assert time.process_time() - began < 20


def test_a_number_too_large_to_be_checked_is_a_mismatch() -> None:
    with pytest.raises(SchemaMismatch):
        OutputSchema.parse({"multipleOf": 0.1}).check(10**400)


def test_a_schema_that_refers_to_itself_alone_is_a_mismatch() -> None:
    with pytest.raises(SchemaMismatch):
        OutputSchema.parse({"$ref": "#"}).check(1)
