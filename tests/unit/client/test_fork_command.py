"""`nagaya run fork`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from nagaya.artifacts.v1 import artifact_pb2, upload_service_pb2
from nagaya.runs.v1 import run_pb2, run_service_pb2
from nagaya_client.cli.main import run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.client.api import Api

RUN_ID = "0192f0c1-2345-7000-8000-000000000001"

pytestmark = pytest.mark.usefixtures("here")


def test_a_run_is_forked_with_what_is_another_one(api: Api, tmp_path: Path) -> None:
    api.on("ForkRun", run_service_pb2.ForkRunResponse(run=run_pb2.Run(run_id=RUN_ID)))
    given = tmp_path / "input.json"
    given.write_text("[1, 2]")
    options = ["--step", "extract", "--item", "3", "--item", "90", "--version", "4"]
    options += ["--prompt", "review=2", "--prompt", "polish=active", "--model", "review=gpt-6"]

    assert run(["run", "fork", RUN_ID, *options, "-i", str(given), "-t", "acme"]) == 0
    (sent,) = [call.request for call in api.called("ForkRun")]
    assert (sent.run_id, sent.from_step, list(sent.items)) == (RUN_ID, "extract", [3, 90])
    assert dict(sent.prompt_versions) == {"review": 2, "polish": 0}
    assert sent.step_models["review"].model_id == "gpt-6"
    assert (sent.pipeline_version, list(sent.inline.list_value)) == (4, [1, 2])


def test_another_input_that_is_large_is_uploaded_to_the_fork(api: Api, tmp_path: Path) -> None:
    api.on("ForkRun", run_service_pb2.ForkRunResponse(run=run_pb2.Run(run_id=RUN_ID)))
    committed = upload_service_pb2.CreateUploadResponse(artifact=artifact_pb2.Artifact())
    api.on("CreateUpload", committed)
    api.on("StartRun", run_service_pb2.StartRunResponse(run=run_pb2.Run(run_id=RUN_ID)))
    given = tmp_path / "input.json"
    given.write_text(json.dumps("x" * 70_000))

    assert run(["run", "fork", RUN_ID, "-i", str(given), "-t", "acme"]) == 0
    assert [call.request.hold for call in api.called("ForkRun")] == [True]
    assert [call.method for call in api.calls] == ["ForkRun", "CreateUpload", "StartRun"]


@pytest.mark.parametrize("prompt", ["review", "review=", "review=x", "review=0"])
def test_a_prompt_of_a_fork_is_a_step_and_a_version(
    api: Api, prompt: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["run", "fork", RUN_ID, "--prompt", prompt, "-t", "acme"]) == 2
    assert "STEP=VERSION" in capsys.readouterr().err
    assert api.calls == []
