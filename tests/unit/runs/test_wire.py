from __future__ import annotations

import json
import math
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import struct_pb2
from google.protobuf.json_format import ParseDict

from jsonvalues import canonical, parse
from nagaya.runs.v1 import pipeline_pb2, run_service_pb2
from runs.domain.inputs import Inline, run_input
from runs.domain.models import ModelById, ModelClass
from runs.errors import InputInvalid
from runs.wire import pipelines as wire
from runs.wire import structs
from runs.wire.runs import run_draft
from servicekit.errors import RequestInvalid

if TYPE_CHECKING:
    from runs.domain.runs import RunDraft

EVERYTHING = {
    "steps": [
        {
            "step": "research",
            "needs": ["input"],
            "map": {"step": "input", "json_pointer": "/sections"},
            "llm": {
                "prompt_version": 3,
                "bindings": [
                    {"variable": "tone", "text": "calm"},
                    {"variable": "brief", "output": {"step": "input", "json_pointer": "/brief"}},
                    {"variable": "section", "element": {"json_pointer": "/title"}},
                    {"variable": "found", "element_output": {"step": "search"}},
                ],
                "model": {"model_class": {"provider_id": "claude", "model_class": "pro"}},
                "output_schema": {"type": "object", "minProperties": 1, "x": [1.5, None, True]},
                "max_output_tokens": 900,
                "unknown_policy": "UNKNOWN_POLICY_REDO",
            },
            "when": "search.hits > 0",
            "timeout": "90.5s",
            "retry": {"max_attempts": 5, "backoff": "0.250s"},
            "metrics": {"facts": "/facts"},
        },
        {
            "step": "search",
            "function": {"function": "find.pages", "arguments": {"limit": 10}, "short": True},
        },
        {"step": "polish", "llm": {"model": {"model_id": "gpt-5"}}},
        {
            "step": "check",
            "needs": ["research"],
            "map": {
                "step": "research",
                "when": "research.kind == 'long'",
                "allow_failed": 3,
                "parallel": 5,
            },
            "function": {"function": "check.facts", "element_outputs": ["research"]},
            "values": {"kind": "/kind"},
        },
        {
            "step": "report",
            "needs": ["check", "polish"],
            "map": {"step": "check", "json_pointer": "/parts", "allow_failed_percent": 1.5},
            "llm": {
                "bindings": [
                    {"variable": "a", "manifest": {"step": "check", "json_pointer": "/failed"}},
                    {"variable": "b", "first_output": {"outputs": [{"step": "polish"}]}},
                    {"variable": "c", "first_element_output": {"outputs": [{"step": "check"}]}},
                ],
            },
        },
        {
            "step": "count",
            "needs": ["check"],
            "function": {"function": "count.parts", "manifests": ["check"]},
        },
    ]
}


def test_a_stored_pipeline_is_read_as_it_was_written() -> None:
    spec = wire.pipeline_spec(ParseDict(EVERYTHING, pipeline_pb2.PipelineSpec()))

    assert wire.from_document(wire.document(spec)) == spec


def test_what_is_left_out_has_its_default() -> None:
    plain = {"steps": [{"step": "a", "llm": {}}]}
    spec = wire.pipeline_spec(ParseDict(plain, pipeline_pb2.PipelineSpec()))

    step = spec.step("a")
    assert (step.timeout_seconds, step.retry.max_attempts, step.retry.backoff_ms) == (600, 3, 1000)


def test_defaults_that_are_written_out_make_no_difference() -> None:
    plain = {"steps": [{"step": "a", "llm": {}}]}
    explicit: dict[str, Any] = {
        "steps": [
            {
                "step": "a",
                "llm": {"unknown_policy": "UNKNOWN_POLICY_FAIL"},
                "timeout": "600s",
                "retry": {"max_attempts": 3, "backoff": "1s"},
            }
        ]
    }
    specs = (ParseDict(each, pipeline_pb2.PipelineSpec()) for each in (plain, explicit))
    documents = [wire.document(wire.pipeline_spec(spec)) for spec in specs]

    assert documents[0] == documents[1]


def test_a_timeout_is_rounded_up_to_whole_seconds() -> None:
    spec = wire.pipeline_spec(ParseDict(EVERYTHING, pipeline_pb2.PipelineSpec()))

    assert spec.step("research").timeout_seconds == 91


def test_whole_numbers_stay_whole() -> None:
    value = ParseDict({"n": 3, "x": 1.5, "huge": 1e300}, struct_pb2.Struct())

    read = structs.json_object(value)
    assert repr(read["n"]) == "3"
    assert (read["x"], read["huge"]) == (1.5, 1e300)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_json_does_not_know_is_refused(number: float) -> None:
    with pytest.raises(RequestInvalid, match="no number of JSON"):
        structs.json_value(struct_pb2.Value(number_value=number))


OBJECT = '{"e":1E2,"id":3544790567247868102,"m":19.90,"o":1.0,"z":-0}'


@pytest.mark.parametrize(("kind", "name"), [("function", "arguments"), ("llm", "output_schema")])
def test_json_that_a_message_would_change_is_stored_and_returned_as_its_text(
    kind: str, name: str
) -> None:
    spaces = OBJECT.replace(":", " : ")
    message = pipeline_pb2.PipelineSpec(steps=[pipeline_pb2.StepSpec(step="a")])
    setattr(getattr(message.steps[0], kind), f"{name}_json", spaces)
    spec = wire.pipeline_spec(message)
    document = wire.document(spec)
    stored = json.loads(json.dumps(document))

    assert stored["steps"][0][kind][f"{name}_json"] == OBJECT
    assert stored["steps"][0][kind][name]["id"] == float(3544790567247868102), "for older readers"
    assert wire.document(wire.from_document(stored)) == document


def test_json_is_stored_alike_whether_it_comes_as_a_message_or_as_its_text() -> None:
    by_message = {"steps": [{"step": "a", "function": {"arguments": {"n": [1, 0.5, None]}}}]}
    by_text = {"steps": [{"step": "a", "function": {"arguments_json": '{"n": [1, 0.5, null]}'}}]}
    specs = (ParseDict(each, pipeline_pb2.PipelineSpec()) for each in (by_message, by_text))
    documents = [wire.document(wire.pipeline_spec(spec)) for spec in specs]

    assert documents[0] == documents[1]
    assert "arguments_json" not in documents[0]["steps"][0]["function"]  # pyright: ignore


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[1]", "it is no JSON object"),
        ('{"a": NaN}', "NaN is no number of JSON"),
        ('{"a": 1, "a": 2}', "an object has two members of the same name"),
        ('{"a": "\\ud83d"}', "a string holds half of a surrogate pair"),
        ('{"a": 1e400}', "a number is larger than any that programs can hold"),
        ('{"a": ' + "[" * 30 + "]" * 30 + "}", "it is nested more than 30 levels deep"),
        ('{"a": 1', "it is not valid JSON at line 1, column 8"),
    ],
)
def test_a_text_that_is_no_json_is_reported_with_its_field(text: str, why: str) -> None:
    message = pipeline_pb2.PipelineSpec(steps=[pipeline_pb2.StepSpec(step="a")])
    message.steps[0].function.arguments_json = text

    with pytest.raises(RequestInvalid) as refused:
        wire.pipeline_spec(message)

    (violation,) = refused.value.violations
    assert violation.field == "spec.steps[0].function.arguments_json"
    assert violation.description == why


def test_the_texts_of_a_pipeline_are_bounded_before_they_are_read() -> None:
    message = pipeline_pb2.PipelineSpec(steps=[pipeline_pb2.StepSpec(step="a")] * 9)
    for step in message.steps:
        step.function.arguments_json = "[" * 65_536

    with pytest.raises(RequestInvalid, match="at most 524,288 are possible"):
        wire.pipeline_spec(message)


def test_an_input_and_a_config_keep_their_digits_beside_what_the_column_makes_of_them() -> None:
    draft = request(inline_json=OBJECT, config_json=OBJECT)

    assert draft.config["input_json"] == draft.config["settings_json"] == OBJECT
    stored = json.loads(json.dumps(draft.config))
    assert run_input(stored) == Inline(parse(OBJECT))
    assert canonical(run_input(stored).value).decode() == OBJECT  # pyright: ignore


def test_a_request_is_the_same_request_whether_it_comes_as_a_message_or_as_its_text() -> None:
    by_message = request(inline={"n": [1, 0.5]}, config={"k": "v"})
    by_text = request(inline_json='{"n": [1, 0.5]}', config_json='{"k": "v"}')

    assert by_message.digest == by_text.digest
    assert by_message.digest != request(inline_json='{"n": [1.0, 0.5]}').digest


def test_a_request_has_the_digest_that_it_had_before_there_were_texts() -> None:
    content = '["article",0,{"input":{"n":[1,0.5]},"settings":{"k":"é"},"step_models":{}}]'

    draft = request(inline={"n": [1, 0.5]}, config={"k": "é"})

    assert draft.digest == sha256(content.encode()).hexdigest()


def request(**fields: object) -> RunDraft:
    whole = {"request_id": "r1", "pipeline": "article", **fields}
    return run_draft(ParseDict(whole, run_service_pb2.CreateRunRequest()))


def test_equal_requests_have_equal_digests() -> None:
    models = {
        "draft": {"model_id": "gpt-5"},
        "review": {"model_class": {"provider_id": "claude", "model_class": "pro"}},
    }
    one = request(inline={"a": 1, "b": [2]}, step_models=models, config={"x": 1})
    again = request(
        inline={"b": [2], "a": 1}, step_models=dict(reversed(models.items())), config={"x": 1}
    )

    assert one.digest == again.digest
    assert one.step_models.keys() == {"draft", "review"}


@pytest.mark.parametrize(
    "other",
    [
        {"inline": {"a": 2}},
        {"inline": None},
        {"hold": True},
        {"pointer": {"path": "storage/acme/r/s/output.json", "digest": "0" * 64}},
        {"inline": {"a": 1}, "config": {"x": 1}},
        {"inline": {"a": 1}, "pipeline_version": 2},
        {"inline": {"a": 1}, "pipeline": "other"},
        {"inline": {"a": 1}, "step_models": {"draft": {"model_id": "gpt-5"}}},
    ],
)
def test_requests_that_differ_have_different_digests(other: dict[str, Any]) -> None:
    assert request(**other).digest != request(inline={"a": 1}).digest


def test_an_inline_input_of_64_kib_is_taken_and_a_byte_more_is_refused() -> None:
    request(inline="x" * (65_536 - 2))  # and two quotes

    with pytest.raises(InputInvalid) as refusal:
        request(inline="x" * (65_536 - 1))
    assert refusal.value.metadata == {"size_bytes": "65537", "limit_bytes": "65536"}


def test_an_inline_input_is_measured_in_utf_8() -> None:
    request(inline="長" * 21_844)

    with pytest.raises(InputInvalid):
        request(inline="長" * 21_845)


def test_a_config_of_more_than_16_kib_is_refused() -> None:
    with pytest.raises(RequestInvalid) as refusal:
        request(inline=1, config={"note": "x" * 16_384})
    assert [each.field for each in refusal.value.violations] == ["config"]


def test_models_of_both_kinds_are_kept_with_the_run() -> None:
    models = {"draft": {"model_id": "gpt-5"}}
    draft = request(inline=1, step_models=models)

    assert draft.config["step_models"] == models
    assert ModelById("gpt-5") != ModelClass("openai", "pro")
