"""`nagaya prompt` and `nagaya pipeline`: labels, differences, trial renderings, whole folders."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from nagaya.runs.v1 import (
    pipeline_pb2,
    pipeline_service_pb2,
    prompt_pb2,
    prompt_service_pb2,
)
from nagaya_client.cli.main import run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.client.api import Api, RecordedCall

SPEC = """
pipeline: invoices
steps:
  - step: extract
    llm: {prompt: invoices.extract, bindings: [{variable: text, text: x}]}
"""

pytestmark = pytest.mark.usefixtures("here")


def version(number: int, content: str = "") -> prompt_pb2.PromptVersion:
    return prompt_pb2.PromptVersion(step="invoices.extract", version=number, content=content)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "pipeline.yaml").write_text(SPEC)
    (tmp_path / "prompts" / "invoices.extract.md").write_text("Take {{ text }}.\n")
    return tmp_path


def applied(call: RecordedCall) -> pipeline_service_pb2.ApplyPipelineResponse:
    (prompt,) = call.request.prompts
    return pipeline_service_pb2.ApplyPipelineResponse(
        pipeline_version=pipeline_pb2.PipelineVersion(
            pipeline="invoices", version=2, spec=call.request.spec
        ),
        created=True,
        prompts=[
            pipeline_service_pb2.ApplyPipelineResponse.Prompt(
                prompt_version=version(3, prompt.content), changed=True, replaced_version=2
            )
        ],
    )


def test_a_folder_is_applied_in_one_call(
    api: Api, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api.on("ApplyPipeline", applied)

    assert run(["pipeline", "apply", str(folder), "-t", "acme"]) == 0
    (sent,) = [call.request for call in api.calls]
    assert (sent.pipeline, sent.spec.steps[0].llm.prompt) == ("invoices", "invoices.extract")
    assert [(p.prompt, p.content) for p in sent.prompts] == [
        ("invoices.extract", "Take {{ text }}.\n")
    ]
    assert (sent.validate_only, sent.allow_shared) == (False, False)
    shown = capsys.readouterr().out.splitlines()
    assert [line.split() for line in shown[1:]] == [
        ["prompt", "invoices.extract", "3", "new"],
        ["pipeline", "invoices", "2", "new"],
    ]


def test_a_folder_without_a_pipeline_is_refused(
    api: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["pipeline", "apply", str(tmp_path), "-t", "acme"]) == 2
    assert "pipeline.yaml" in capsys.readouterr().err
    assert api.calls == []


def test_the_difference_of_a_folder_is_shown_and_nothing_is_changed(
    api: Api, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api.on("ApplyPipeline", applied)
    old = prompt_service_pb2.GetPromptVersionResponse(prompt_version=version(2, "Take it."))
    api.on("GetPromptVersion", old)
    plain = pipeline_pb2.PipelineSpec(steps=[pipeline_pb2.StepSpec(step="extract")])
    stored = pipeline_pb2.PipelineVersion(spec=plain)
    api.on(
        "GetPipelineVersion",
        pipeline_service_pb2.GetPipelineVersionResponse(pipeline_version=stored),
    )

    assert run(["pipeline", "diff", str(folder), "-t", "acme"]) == 0
    assert all(call.request.validate_only for call in api.called("ApplyPipeline"))
    assert [call.request.version for call in api.called("GetPromptVersion")] == [2]
    shown = capsys.readouterr().out.splitlines()
    assert {"-Take it.", "+Take {{ text }}.", "+    prompt: invoices.extract"} <= set(shown)


def test_two_versions_are_compared(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    texts = {1: "Take the total.\nIn English.", 0: "Take the total.\nIn French."}

    def found(call: RecordedCall) -> prompt_service_pb2.GetPromptVersionResponse:
        asked = call.request.version
        return prompt_service_pb2.GetPromptVersionResponse(
            prompt_version=version(asked or 4, texts[asked])
        )

    api.on("GetPromptVersion", found)

    assert run(["prompt", "diff", "invoices.extract", "1", "-t", "acme"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[:2] == ["--- invoices.extract version 1", "+++ invoices.extract version 4"]
    assert shown[-2:] == ["-In English.", "+In French."]


def test_a_prompt_is_rendered_with_texts_and_files(
    api: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    response = prompt_service_pb2.RenderPromptResponse(text="Take 5 euros.", version=2)
    api.on("RenderPrompt", response)
    given = tmp_path / "invoice.txt"
    given.write_text("5 euros")
    options = ["--value", f"text=@{given}", "--value", "tone=dry=very"]

    assert run(["prompt", "test", "invoices.extract", *options, "-t", "acme"]) == 0
    (sent,) = [call.request for call in api.calls]
    assert dict(sent.values) == {"text": "5 euros", "tone": "dry=very"}
    assert capsys.readouterr().out == "Take 5 euros.\n"


def test_the_pipelines_that_use_a_version_are_named_when_it_becomes_active(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    uses = [
        prompt_pb2.PromptUse(pipeline=name, step="extract") for name in ("contracts", "invoices")
    ]
    response = prompt_service_pb2.ActivatePromptVersionResponse(
        prompt_version=version(2), uses=uses
    )
    api.on("ActivatePromptVersion", response)

    assert run(["prompt", "activate", "extract", "2", "-t", "acme"]) == 0
    shown = capsys.readouterr()
    assert "contracts (step extract), invoices (step extract)" in shown.err
    assert run(["prompt", "activate", "extract", "2", "-t", "acme", "-o", "json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["uses"]) == 2


@pytest.mark.parametrize("number", [2, 0])
def test_a_label_is_set_and_removed(api: Api, number: int) -> None:
    api.on("SetPromptLabel", prompt_service_pb2.SetPromptLabelResponse())

    assert run(["prompt", "label", "invoices.extract", "canary", str(number), "-t", "acme"]) == 0
    (sent,) = [call.request for call in api.calls]
    assert (sent.step, sent.label, sent.version) == ("invoices.extract", "canary", number)
