"""A pipeline's faults are told by file and line, ours and the server's."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import grpc
import pytest
from google.protobuf.json_format import MessageToDict
from tests.unit.client.api import Api, Refusal

from nagaya_client.cli.main import run
from nagaya_client.errors import ApiError, PipelineFileInvalid, Violation
from nagaya_client.pipeline_file import read_pipeline

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "article" / "pipeline.yaml"

GOOD = """\
pipeline: small
steps:
  - step: outline
    needs: [input]
    llm:
      bindings:
        - {variable: topic, output: {step: input, json_pointer: /topic}}
  - step: draft
    needs:
      - outlin
    llm: {}
"""


def faults_of(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "p.yaml"
    file.write_text(dedent(text))
    with pytest.raises(PipelineFileInvalid) as refused:
        read_pipeline(file)
    return [line.removeprefix(f"{tmp_path}/") for line in refused.value.lines()]


def test_the_example_is_read_as_it_stands() -> None:
    pipeline = read_pipeline(EXAMPLE)

    assert pipeline.pipeline == "article"
    steps = [step.step for step in pipeline.spec.steps]
    assert steps == ["outline", "research", "draft", "review", "polish"]
    assert pipeline.spec.steps[3].metrics == {"score": "/score"}
    assert pipeline.spec.steps[0].llm.output_schema["type"] == "object"


def test_both_spellings_of_a_field_are_taken(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(
        "steps: [{step: a, llm: {maxOutputTokens: 5, unknown_policy: UNKNOWN_POLICY_FAIL}}]"
    )
    pipeline = read_pipeline(file)
    assert pipeline.spec.steps[0].llm.max_output_tokens == 5
    assert pipeline.pipeline == ""


def test_an_unknown_key_has_its_line_and_a_suggestion(tmp_path: Path) -> None:
    text = """\
        pipeline: x
        steps:
          - step: a
            need: [input]
            llm: {max_tokens: 3}
    """
    assert faults_of(tmp_path, text) == [
        "p.yaml:4: steps[0]: there is no field `need` (did you mean `needs`?)",
        "p.yaml:5: steps[0].llm: there is no field `max_tokens`"
        " (did you mean `max_output_tokens`?)",
    ]


def test_every_fault_is_reported_at_once(tmp_path: Path) -> None:
    text = """\
        step: []
        steps:
          - step: a
            needs: input
            llm: {max_output_tokens: many, unknown_policy: UNKNOWN_POLICY_REDOO}
            function: {function: f}
            timeout: five minutes
            timeout: 300s
          - llm
          - step: b
            llm:
              bindings: [{variable: v, text: 5}]
              output_schema: text
    """
    assert faults_of(tmp_path, text) == [
        "p.yaml:1: there is no field `step` (did you mean `steps`?)",
        "p.yaml:4: steps[0].needs: a list is expected here",
        "p.yaml:5: steps[0].llm.max_output_tokens: a whole number is expected here",
        "p.yaml:5: steps[0].llm.unknown_policy: one of the known names is expected here"
        " (did you mean `UNKNOWN_POLICY_REDO`?)",
        "p.yaml:6: steps[0].function: `function` and `llm` exclude each other",
        "p.yaml:7: steps[0].timeout: a time such as `300s` is expected here",
        "p.yaml:8: steps[0]: `timeout` is given twice (remove one of the two)",
        "p.yaml:9: steps[1]: a mapping is expected here",
        "p.yaml:12: steps[2].llm.bindings[0].text: "
        "a text (in quotes where it looks like a number or a yes) is expected here",
        "p.yaml:13: steps[2].llm.output_schema: a mapping is expected here",
    ]


@pytest.mark.parametrize(
    ("text", "count", "percent"), [("3", 3, 0.0), ("1%", 0, 1.0), ("0.5 %", 0, 0.5)]
)
def test_how_many_elements_may_fail_is_a_number_or_a_share(
    tmp_path: Path, text: str, count: int, percent: float
) -> None:
    file = tmp_path / "p.yaml"
    step = f"{{step: a, llm: {{}}, map: {{step: input, allow_failed: {text}}}}}"
    file.write_text(f"pipeline: p\nsteps: [{step}]\n")
    over = read_pipeline(file).spec.steps[0].map

    assert (over.allow_failed, over.allow_failed_percent) == (count, percent)


def test_what_json_does_not_have_is_reported_where_it_stands(tmp_path: Path) -> None:
    text = """\
        pipeline: p
        steps:
          - step: a
            function:
              function: f
              arguments:
                whole: {1: one, "2": {no: 1, b: !!binary aGk=}}
                list: [0, {yes: &same {k: 1}, also: *same, k: 2, k: 3}, [!!set {a}]]
                [x, y]: z
            metrics: {1: /n}
    """
    at = "steps[0].function.arguments"
    assert faults_of(tmp_path, text) == [
        f"p.yaml:7: {at}.whole: a key has to be a text (put it in quotes)",
        f"p.yaml:7: {at}.whole.2: a key has to be a text (put it in quotes)",
        f"p.yaml:7: {at}.whole.2.b: JSON has no `!!binary`",
        f"p.yaml:8: {at}.list[1]: a key has to be a text (put it in quotes)",
        f"p.yaml:8: {at}.list[1]: `k` is given twice (remove one of the two)",
        f"p.yaml:8: {at}.list[2][0]: JSON has no `!!set`",
        f"p.yaml:9: {at}: a key has to be a text",
        "p.yaml:10: steps[0].metrics: a key has to be a text (put it in quotes)",
    ]


def test_parts_of_arguments_may_be_named_and_merged(tmp_path: Path) -> None:
    text = """
        pipeline: p
        steps:
          - step: a
            function:
              function: f
              arguments: {base: &base {k: 1}, more: {<<: *base, l: 2}, again: *base}
    """
    file = tmp_path / "p.yaml"
    file.write_text(dedent(text))
    (step,) = read_pipeline(file).spec.steps

    assert MessageToDict(step.function.arguments) == {
        "base": {"k": 1},
        "more": {"k": 1, "l": 2},
        "again": {"k": 1},
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [1,\n\nb: c", "p.yaml:3: invalid YAML: "),
        ("a: 1\n\tb: 2", "p.yaml:2: invalid YAML: "),
        ("", "p.yaml:1: a mapping with `pipeline` and `steps` is expected here"),
        ("- a", "p.yaml:1: a mapping with `pipeline` and `steps` is expected here"),
        ("steps: &a [{step: x, llm: *a}]", "p.yaml:1: steps[0].llm: a mapping is expected here"),
        ("steps:\n- &a\n  llm: *a", "p.yaml:2: steps[0].llm: this mapping contains itself"),
        ("steps: []\n---\nsteps: []", "p.yaml:2: invalid YAML: "),
        ("steps: [{step: x, llm: {output_schema: !!python/object:a.B {}}}]", "p.yaml:1: steps[0]"),
    ],
)
def test_what_is_no_pipeline_at_all_is_reported_with_its_line(
    tmp_path: Path, text: str, expected: str
) -> None:
    (fault,) = faults_of(tmp_path, text)
    assert fault.startswith(expected)


def test_bytes_that_are_no_utf8_are_reported_with_their_line(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_bytes(b"pipeline: x\n# caf\xe9\n")
    with pytest.raises(PipelineFileInvalid, match=r":2: these bytes are no UTF-8"):
        read_pipeline(file)


@pytest.mark.parametrize(
    ("field", "line", "hint"),
    [
        ("spec.steps[1].needs[0]", 10, " (did you mean `outline`?)"),
        ("spec.steps[0].llm.bindings[0].output.step", 7, ""),
        ("spec.steps[0].llm.bindings[0].output.json_pointer", 7, ""),
        ("spec.steps[1].kind", 8, ""),
        ("spec.steps[7].needs[0]", 3, ""),
        ("spec", 1, ""),
        ("pipeline", 1, ""),
    ],
)
def test_a_violation_of_the_servers_has_the_line_of_its_field(
    tmp_path: Path, field: str, line: int, hint: str
) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(GOOD)
    error = ApiError(
        grpc.StatusCode.INVALID_ARGUMENT,
        "the pipeline breaks rules",
        reason="ERROR_REASON_PIPELINE_INVALID",
        violations=(Violation(field, "is wrong"),),
    )

    located = read_pipeline(file).located(error)

    where = field.removeprefix("spec.")
    assert located is not None
    assert located.lines() == (f"{file}:{line}: {where}: is wrong{hint}",)


def test_a_missing_prompt_is_reported_at_its_step(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(GOOD)
    error = ApiError(
        grpc.StatusCode.FAILED_PRECONDITION,
        "step draft has no active prompt",
        reason="ERROR_REASON_PROMPT_UNUSABLE",
        metadata={"step": "draft"},
    )
    located = read_pipeline(file).located(error)
    assert str(located) == f"{file}:8: steps[1]: step draft has no active prompt"


def test_another_refusal_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(GOOD)
    error = ApiError(grpc.StatusCode.PERMISSION_DENIED, "no", reason="ERROR_REASON_NO")
    assert read_pipeline(file).located(error) is None


def test_the_command_tells_file_line_and_hint(
    api: Api, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = here / "small.yaml"
    file.write_text(GOOD)
    violations = (("spec.steps[1].needs[0]", "there is no step `outlin`"),)
    refusal = Refusal(
        grpc.StatusCode.INVALID_ARGUMENT,
        "the pipeline breaks rules",
        "ERROR_REASON_PIPELINE_INVALID",
        violations=violations,
    )
    api.on("ValidatePipeline", refusal)

    assert run(["pipeline", "validate", "small.yaml", "--tenant", "acme"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "small.yaml:10: steps[1].needs[0]: there is no step `outlin` (did you mean `outline`?)"
    ]
