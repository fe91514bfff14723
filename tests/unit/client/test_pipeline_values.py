"""Values in a pipeline's file: numbers to the letter, and nothing that may be read in two ways."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
import yaml
from google.protobuf.json_format import MessageToDict

from nagaya_client.errors import PipelineFileInvalid
from nagaya_client.pipeline_file import read_pipeline

if TYPE_CHECKING:
    from pathlib import Path

VALUE = "steps: [{{step: a, function: {{function: f, arguments: {{v: {}}}}}}}]"
WRITTEN = "steps: [{{step: {}, function: {{function: f}}}}]"


def faults_of(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "p.yaml"
    file.write_text(text)
    with pytest.raises(PipelineFileInvalid) as refused:
        read_pipeline(file)
    return [line.removeprefix(f"{tmp_path}/") for line in refused.value.lines()]


@pytest.mark.parametrize(
    "number", ["3544790567247868102", "12345678901234567890123", "19.90", "1E2", "1e3", "-0", "1.0"]
)
def test_numbers_that_a_double_would_change_are_sent_to_the_letter(
    tmp_path: Path, number: str
) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(VALUE.format(f"[{number}]"))
    (step,) = read_pipeline(file).spec.steps

    assert step.function.arguments_json == f'{{"v":[{number}]}}'
    assert MessageToDict(step.function.arguments) == {"v": [float(number)]}


@pytest.mark.parametrize("number", ["7", "0.1", "-12.75", "0x10", "+3", ".5"])
def test_other_numbers_are_sent_as_ever(tmp_path: Path, number: str) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(VALUE.format(number))
    (step,) = read_pipeline(file).spec.steps

    assert step.function.arguments_json == ""
    assert step.function.arguments["v"] == yaml.safe_load(number)


@pytest.mark.parametrize(
    ("value", "hint"),
    [("yes", 'write true, or "yes" in quotes'), ("No", 'write false, or "No" in quotes'),
     ("on", 'write true, or "on" in quotes'), ("OFF", 'write false, or "OFF" in quotes'),
     *((value, "write a number as JSON does, or put a text in quotes")
       for value in ("010", "-012", "0o17", "1_000", "1:30", "0b11", "1_0.5"))],
)  # fmt: skip
def test_what_is_not_the_same_to_all_readers_of_yaml_is_reported_where_it_would_matter(
    tmp_path: Path, value: str, hint: str
) -> None:
    for text in (VALUE.format(f"[{value}]"), VALUE.format(f"{{k: {value}}}")):
        (fault,) = faults_of(tmp_path, text)
        assert fault.startswith("p.yaml:1: steps[0].function.arguments.v")
        assert fault.endswith(f"({hint})")

    quoted = tmp_path / "quoted.yaml"
    quoted.write_text(VALUE.format(f'"{value}"'))
    (step,) = read_pipeline(quoted).spec.steps
    assert step.function.arguments["v"] == value


def test_a_schema_of_yes_and_no_becomes_no_schema_of_true_and_false(tmp_path: Path) -> None:
    text = "steps: [{step: a, llm: {output_schema: {enum: [yes, no, on]}}}]"
    assert len(faults_of(tmp_path, text)) == 3


@pytest.mark.parametrize("number", ["010", "1_000", "0o17", "1:30"])
def test_a_field_for_numbers_takes_none_that_readers_disagree_about(
    tmp_path: Path, number: str
) -> None:
    text = f"steps: [{{step: a, llm: {{max_output_tokens: {number}}}}}]"
    (fault,) = faults_of(tmp_path, text)
    assert "is not the same value to all readers of YAML" in fault


def test_a_field_for_numbers_takes_them_as_json_writes_them(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    for number, tokens in (
        *(("1e3", 1000), ("1000", 1000), ("10.0", 10), ("0x10", 16)),
        *(('"1000"', 1000), ("~", 0), ("-5", -5)),
    ):
        file.write_text(f"steps: [{{step: a, llm: {{max_output_tokens: {number}}}}}]")
        assert read_pipeline(file).spec.steps[0].llm.max_output_tokens == tokens


@pytest.mark.parametrize("number", ["10.5", "99999999999", "1e30", ".inf"])
def test_a_field_for_whole_numbers_takes_no_others(tmp_path: Path, number: str) -> None:
    text = f"steps: [{{step: a, llm: {{max_output_tokens: {number}}}}}]"
    (fault,) = faults_of(tmp_path, text)
    assert fault == "p.yaml:1: steps[0].llm.max_output_tokens: a whole number is expected here"


@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan", "1e400", "9" * 400, r'"\ud83d"'])
def test_what_json_cannot_hold_is_reported(tmp_path: Path, value: str) -> None:
    (fault,) = faults_of(tmp_path, VALUE.format(f"[{value}]"))
    assert fault.startswith("p.yaml:1: steps[0].function.arguments: ")


def test_json_is_nested_as_deeply_as_the_server_takes_it(tmp_path: Path) -> None:
    (fault,) = faults_of(tmp_path, VALUE.format("[" * 40 + "]" * 40))
    assert "nested more than 30 levels deep" in fault


@pytest.mark.parametrize(
    "place", ["steps: [{step: a, function: {function: f, arguments: {v: *i}}}]", "steps: *i"]
)
def test_aliases_that_multiply_are_refused_before_they_do(tmp_path: Path, place: str) -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    for above, name in pairwise("abcdefghi"):
        lines.append(f"{name}: &{name} [{', '.join([f'*{above}'] * 10)}]")
    (fault,) = faults_of(tmp_path, "\n".join([*lines, place]))
    assert fault == "p.yaml:1: its aliases make more than 100,000 values of it"


def test_what_is_nested_without_end_is_reported(tmp_path: Path) -> None:
    (fault,) = faults_of(tmp_path, "a: " + "[" * 5_000)
    assert fault == "p.yaml:1: it is nested too deeply"


@pytest.mark.parametrize("name", ["1e3", "no", "on", "True", "12", "012", "0x1", "1_0"])
def test_a_name_that_yaml_reads_as_something_else_is_to_be_quoted(
    tmp_path: Path, name: str
) -> None:
    wanted = "a text (in quotes where it looks like a number or a yes) is expected here"

    assert faults_of(tmp_path, WRITTEN.format(name)) == [f"p.yaml:1: steps[0].step: {wanted}"]
    needs = f"steps: [{{step: a, needs: [{name}], function: {{function: f}}}}]"
    assert faults_of(tmp_path, needs) == [f"p.yaml:1: steps[0].needs: {wanted}"]


@pytest.mark.parametrize(
    ("written", "name"),
    [("y", "y"), ('"yes"', "yes"), ("2024-01-01", "2024-01-01"), ("~", ""), ("null", "")],
)
def test_a_name_that_is_a_text_or_left_out_is_for_the_server_to_judge(
    tmp_path: Path, written: str, name: str
) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(WRITTEN.format(written))

    assert read_pipeline(file).spec.steps[0].step == name


@pytest.mark.parametrize("timeout", ["90", "1m", "1:30", ".inf", "PT90S", "1e2s", "s"])
def test_a_time_is_written_in_seconds(tmp_path: Path, timeout: str) -> None:
    text = f"steps: [{{step: a, timeout: {timeout}, function: {{function: f}}}}]"

    (fault,) = faults_of(tmp_path, text)
    assert fault == "p.yaml:1: steps[0].timeout: a time such as `300s` is expected here"


@pytest.mark.parametrize(
    ("written", "seconds"), [("90s", 90), ("1.5s", 1.5), ("0s", 0), ("-3s", -3), ("~", None)]
)
def test_whether_a_time_is_allowed_is_for_the_server_to_judge(
    tmp_path: Path, written: str, seconds: float | None
) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(f"steps: [{{step: a, timeout: {written}, function: {{function: f}}}}]")
    (step,) = read_pipeline(file).spec.steps

    timeout = step.timeout.ToTimedelta().total_seconds() if step.HasField("timeout") else None
    assert timeout == seconds


def test_fields_of_a_step_are_not_merged_from_another(tmp_path: Path) -> None:
    text = "steps:\n- &first\n  step: a\n  function: {function: f}\n- <<: *first\n  step: b\n"

    assert faults_of(tmp_path, text) == [
        "p.yaml:5: steps[1]: there is no field `<<`"
        " (write the fields out; `<<` merges only inside of JSON)"
    ]


@pytest.mark.parametrize("text", ["\ufeffsteps: [{step: a}]\n", "steps:\r\n  - step: a\r\n"])
def test_a_file_as_windows_writes_it_is_read(tmp_path: Path, text: str) -> None:
    file = tmp_path / "p.yaml"
    file.write_bytes(text.encode())

    assert [step.step for step in read_pipeline(file).spec.steps] == ["a"]
