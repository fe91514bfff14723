"""Between messages and the domain."""

from __future__ import annotations

import json

import pytest
from google.protobuf.struct_pb2 import Struct

from jsonvalues import compact
from llm_gateway.domain.requests import FilePointer, Text, UnknownPolicy
from llm_gateway.wire.generation import request_of
from nagaya.artifacts.v1 import artifact_pb2
from nagaya.llm_gateway.v1 import call_pb2, generation_pb2
from servicekit.errors import RequestInvalid

RUN = "00000000-0000-0000-0000-000000000001"


def message(**more: object) -> generation_pb2.GenerationSpec:
    pointer = artifact_pb2.ArtifactPointer(path="p", digest="d" * 64, json_pointer="/a")
    parts = [generation_pb2.Part(text="Hello"), generation_pb2.Part(pointer=pointer)]
    turn = generation_pb2.Message(role=generation_pb2.ROLE_USER, parts=parts)
    key = call_pb2.CallKey(run_id=RUN, step="draft", item=0, visit=1, call=1)
    return generation_pb2.GenerationSpec(key=key, messages=[turn], **more)  # pyright: ignore[reportArgumentType] - fields


def test_a_request_is_read_as_it_was_meant() -> None:
    request = request_of("acme", message())

    assert request.messages[0].parts == (Text("Hello"), FilePointer("p", "d" * 64, "/a"))
    assert request.unknown_policy is UnknownPolicy.FAIL
    assert request.model is request.run_model is request.temperature is None
    assert request.output_schema is None
    assert str(request.key) == f"{RUN}/draft/0-1/1"


def test_a_temperature_is_the_number_that_was_written() -> None:
    assert request_of("acme", message(temperature=0.7)).temperature == 0.7
    assert request_of("acme", message(temperature=0.0)).temperature == 0.0


def test_a_schema_has_whole_numbers_and_its_names_in_order() -> None:
    struct = Struct()
    struct.update({"type": "object", "minProperties": 1, "maximum": 0.5, "enum": [None, True]})

    schema = request_of("acme", message(output_schema=struct)).output_schema

    assert schema is not None
    assert json.dumps(schema.definition) == (
        '{"enum": [null, true], "maximum": 0.5, "minProperties": 1, "type": "object"}'
    )


def test_a_schema_that_comes_as_its_text_keeps_its_digits_and_its_order() -> None:
    text = '{"type":"object","properties":{"b":{"const":3544790567247868102},"a":{"maximum":1E2}}}'
    rounded = Struct()
    rounded.update({"type": "object"})

    schema = request_of(
        "acme", message(output_schema=rounded, output_schema_json=text)
    ).output_schema

    assert schema is not None
    assert compact(schema.definition) == text


@pytest.mark.parametrize("text", ["[]", '{"maximum": NaN}', '{"a": 1, "a": 2}', "{", "[" * 50])
def test_a_schemas_text_that_is_no_object_is_refused_with_its_field(text: str) -> None:
    with pytest.raises(RequestInvalid) as refused:
        request_of("acme", message(output_schema_json=text))

    assert [each.field for each in refused.value.violations] == ["spec.output_schema_json"]


def test_a_number_that_json_does_not_have_is_refused() -> None:
    struct = Struct()
    struct["maximum"] = float("inf")

    with pytest.raises(RequestInvalid):
        request_of("acme", message(output_schema=struct))
