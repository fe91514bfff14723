"""What is refused beforehand, by runs and by llm-gateway alike."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from jsonvalues import Number, parse_object
from llm_gateway.domain.schemas import OutputSchema
from nagaya.runs.v1 import pipeline_pb2
from outputschema.fit import check_value
from outputschema.rule import SchemaUnusable, check_schema
from runs.domain.drafts import PipelineDraft
from runs.errors import PipelineInvalid
from runs.wire import pipelines as wire
from servicekit.errors import RequestInvalid


def nested(levels: int) -> dict[str, Any]:
    return {} if levels == 0 else {"items": nested(levels - 1)}


UNUSABLE: dict[str, dict[str, Any]] = {
    "no type": {"type": "text"},
    "a reference to elsewhere": {"$ref": "https://example.com/schema.json"},
    "a reference to nothing": {"$ref": "#/$defs/missing"},
    "a pattern": {"type": "string", "pattern": "(a+)+$"},
    "patterns of names": {"patternProperties": {"x": {}}},
    "what is left over": {"unevaluatedProperties": False},
    "too many values": {"enum": list(range(5_000))},
    "too many bytes": {"description": "x" * 65_536},
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_runs_and_the_gateway_refuse_the_same_schemas_in_the_same_words(name: str) -> None:
    with pytest.raises(SchemaUnusable) as rule:
        check_schema(UNUSABLE[name])
    with pytest.raises(RequestInvalid) as gateway:
        OutputSchema.parse(UNUSABLE[name])
    step = {"step": "a", "llm": {"output_schema": UNUSABLE[name]}}
    spec = wire.pipeline_spec(ParseDict({"steps": [step]}, pipeline_pb2.PipelineSpec()))
    with pytest.raises(PipelineInvalid) as runs:
        PipelineDraft.parse("article", spec, wire.document)

    messages = {each.value.violations[0].description for each in (gateway, runs)}
    if name != "too many values":  # of a whole pipeline that is told first
        assert messages == {str(rule.value)}


def test_a_schema_may_be_as_large_as_the_rule_says_and_no_larger() -> None:
    check_schema({"enum": list(range(4_998))})
    check_schema(nested(60))

    with pytest.raises(SchemaUnusable, match=r"5,000 JSON values"):
        check_schema({"enum": list(range(4_999))})
    with pytest.raises(SchemaUnusable, match=r"64 levels"):
        check_schema(nested(70))


def test_numbers_are_taken_as_they_were_written() -> None:
    schema = parse_object('{"minimum": 1.0, "multipleOf": 0.10, "enum": [19.90, 2E1]}')

    check_schema(schema)
    check_value(schema, 20)
    with pytest.raises(SchemaUnusable, match="too large"):
        check_schema({"maximum": Number("1e400")})


def test_names_of_properties_are_no_keywords() -> None:
    check_schema({"properties": {"pattern": {"type": "string"}, "$ref": {"type": "string"}}})


KEYWORDS = st.sampled_from(
    ["type", "properties", "items", "enum", "required", "maxLength", "anyOf", "$ref", "format"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["string", "object", "#"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYWORDS, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(KEYWORDS, VALUES, max_size=4))
def test_what_is_well_formed_is_what_the_metaschema_of_the_draft_says(
    definition: dict[str, Any],
) -> None:
    try:
        Draft202012Validator.check_schema(definition)
        well_formed = True
    except SchemaError:
        well_formed = False

    try:
        check_schema(definition)
        found = True
    except SchemaUnusable as error:
        found = "is no JSON schema" not in str(error)
    assert found == well_formed
