"""`nagaya run`: runs that are held, and what became of a run's steps."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from nagaya.artifacts.v1 import artifact_pb2, upload_service_pb2
from nagaya.runs.v1 import run_pb2, run_service_pb2
from nagaya_client.cli.main import run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.client.api import Api, RecordedCall

RUN_ID = "0192f0c1-2345-7000-8000-000000000001"
FAILED, COMPLETED = run_pb2.STEP_STATE_FAILED, run_pb2.STEP_STATE_COMPLETED

pytestmark = pytest.mark.usefixtures("here")


def created(_: RecordedCall) -> run_service_pb2.CreateRunResponse:
    return run_service_pb2.CreateRunResponse(run=run_pb2.Run(run_id=RUN_ID, held=True))


def test_a_run_is_created_and_waits(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    api.on("CreateRun", created)

    assert run(["run", "start", "article", "--hold", "-t", "acme", "-o", "json"]) == 0
    (sent,) = [call.request for call in api.called("CreateRun")]
    assert (sent.hold, sent.WhichOneof("input")) == (True, "hold")
    assert json.loads(capsys.readouterr().out)["run"]["held"] is True


def test_a_run_that_is_held_may_have_its_input_already(api: Api, tmp_path: Path) -> None:
    api.on("CreateRun", created)
    committed = upload_service_pb2.CreateUploadResponse(artifact=artifact_pb2.Artifact())
    api.on("CreateUpload", committed)
    given = tmp_path / "brief.json"
    given.write_text('{"topic": "cranes"}')

    assert run(["run", "start", "article", "--hold", "-i", str(given), "-t", "acme"]) == 0
    (put,) = [call.request.draft for call in api.called("CreateUpload")]
    assert (put.run_id, put.step, put.name) == (RUN_ID, "input", "output.json")
    assert api.called("StartRun") == []


def test_a_run_that_was_held_is_released(api: Api) -> None:
    api.on("StartRun", run_service_pb2.StartRunResponse(run=run_pb2.Run(run_id=RUN_ID)))

    assert run(["run", "release", RUN_ID, "-t", "acme"]) == 0
    assert [call.request.run_id for call in api.called("StartRun")] == [RUN_ID]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), "--input names a file, --hold lets it wait"),
        (("--hold", "--wait"), "--wait and --hold"),
    ],
    ids=["no input", "held and waited for"],
)
def test_a_run_without_input_is_held_and_not_waited_for(
    api: Api, options: tuple[str, ...], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["run", "start", "article", *options, "-t", "acme"]) == 2
    assert expected in capsys.readouterr().err
    assert api.calls == []


def pages_of_steps(call: RecordedCall) -> run_service_pb2.ListRunStepsResponse:
    """Two pages of 100 steps; the 50th of each has failed."""
    page = int(call.request.page_token or 0)
    steps: list[Any] = []
    for number in range(100 * page, 100 * page + 100):
        fails = number % 100 == 50
        step = run_pb2.RunStep(step="draft", item=number, state=FAILED if fails else COMPLETED)
        if fails:
            step.error.reason = "OUTPUT_NOT_JSON"
        steps.append(step)
    token = "1" if page == 0 else ""
    return run_service_pb2.ListRunStepsResponse(run_steps=steps, next_page_token=token)


def test_failed_steps_are_found_wherever_they_are_with_their_reasons(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    api.on("ListRunSteps", pages_of_steps)

    assert run(["run", "steps", RUN_ID, "--failed", "-t", "acme"]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert "REASON" in header.split()
    assert [row.split()[:2] for row in rows] == [["draft", "50"], ["draft", "150"]]
    assert all("output_not_json" in row for row in rows)


def test_a_run_is_paused_resumed_and_retried(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    paused = run_pb2.Run(run_id=RUN_ID, state=run_pb2.RUN_STATE_PAUSED)
    running = run_pb2.Run(run_id=RUN_ID, state=run_pb2.RUN_STATE_RUNNING)
    api.on("PauseRun", run_service_pb2.PauseRunResponse(run=paused))
    api.on("ResumeRun", run_service_pb2.ResumeRunResponse(run=running))
    api.on("RetryRun", run_service_pb2.RetryRunResponse(run=running))

    assert run(["run", "pause", RUN_ID, "-t", "acme", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["run"]["state"] == "RUN_STATE_PAUSED"
    assert run(["run", "resume", RUN_ID, "-t", "acme"]) == 0
    options = ("--step", "draft", "--item", "90", "--new-calls", "--request-id", "x")
    assert run(["run", "retry", RUN_ID, *options, "-t", "acme"]) == 0
    assert run(["run", "retry", RUN_ID, "-t", "acme"]) == 0
    named, whole = (call.request for call in api.called("RetryRun"))
    assert (named.step, named.item, named.new_calls, named.request_id) == ("draft", 90, True, "x")
    assert (whole.step, whole.item, whole.new_calls) == ("", 0, False)
    assert whole.request_id


def test_an_element_is_retried_with_its_step(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["run", "retry", RUN_ID, "--item", "90", "-t", "acme"]) == 2
    assert "name it with --step" in capsys.readouterr().err
    assert api.calls == []


def test_many_runs_are_steered_page_by_page(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    def page(call: RecordedCall) -> run_service_pb2.BulkRunsResponse:
        result = run_service_pb2.BulkRunResult(run=run_pb2.Run(run_id=RUN_ID))
        more = "" if call.request.page_token else "more"
        return run_service_pb2.BulkRunsResponse(results=[result], next_page_token=more)

    api.on("BulkRuns", page)

    assert run(["run", "bulk", "cancel", "-t", "acme"]) == 2
    assert "--all" in capsys.readouterr().err
    options = ("--pipeline", "article", "--dry-run")
    assert run(["run", "bulk", "cancel", *options, "-t", "acme", "-o", "json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["results"]) == 2
    first, second = (call.request for call in api.called("BulkRuns"))
    assert (first.filter.pipeline, first.dry_run) == ("article", True)
    assert first.operation == run_service_pb2.RUN_OPERATION_CANCEL
    assert first.request_id == second.request_id
