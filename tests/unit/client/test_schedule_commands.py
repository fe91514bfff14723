"""`nagaya schedule`: each command makes one call of what was given."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from nagaya.runs.v1 import run_pb2, schedule_pb2
from nagaya.runs.v1 import schedule_service_pb2 as pb
from nagaya_client.cli.main import run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.client.api import Api

pytestmark = pytest.mark.usefixtures("here")

TENANT = ("-t", "acme")
SHOWN = schedule_pb2.Schedule(schedule="nightly", delivered=True)


@pytest.fixture
def given(tmp_path: Path) -> str:
    file = tmp_path / "input.json"
    file.write_text('{"topic": "cranes"}')
    return str(file)


def test_a_schedule_is_created(api: Api, given: str) -> None:
    api.on("CreateSchedule", pb.CreateScheduleResponse(schedule=SHOWN))
    times = ("--cron", "30 2 * * 1-5", "--time-zone", "Asia/Tokyo", "--catch-up", "7200")
    more = ("--overlap", "buffer_one", "--time-member", "night", "--model", "draft=claude/pro")

    words = ["schedule", "create", "nightly", "article", "-i", given, *times, *more, "--paused"]
    assert run([*words, "--request-id", "mine", *TENANT]) == 0

    (sent,) = [call.request for call in api.called("CreateSchedule")]
    assert (sent.schedule, sent.request_id, sent.paused) == ("nightly", "mine", True)
    spec = sent.spec
    assert (spec.pipeline, spec.cron, spec.time_zone) == ("article", "30 2 * * 1-5", "Asia/Tokyo")
    assert (spec.inline_json, spec.time_member) == ('{"topic":"cranes"}', "night")
    assert spec.overlap == schedule_pb2.SCHEDULE_OVERLAP_BUFFER_ONE
    assert (spec.catch_up_seconds, spec.step_models["draft"].model_class.provider_id) == (
        7200,
        "claude",
    )


@pytest.mark.parametrize(
    "times", [(), ("--cron", "0 3 * * *", "--every", "60")], ids=["neither", "both"]
)
def test_a_schedule_has_one_kind_of_times(
    api: Api, given: str, times: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["schedule", "create", "nightly", "article", "-i", given, *times, *TENANT]
    assert run(words) == 2
    assert "--cron or --every" in capsys.readouterr().err
    assert api.calls == []


def test_a_schedule_is_replaced(api: Api, given: str) -> None:
    api.on("UpdateSchedule", pb.UpdateScheduleResponse(schedule=SHOWN))

    words = ["schedule", "update", "nightly", "article", "-i", given, "--every", "60", *TENANT]
    assert run(words) == 0
    (sent,) = [call.request for call in api.called("UpdateSchedule")]
    assert (sent.schedule, sent.spec.every_seconds) == ("nightly", 60)


def test_schedules_are_shown(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    api.on("GetSchedule", pb.GetScheduleResponse(schedule=SHOWN))
    api.on("ListSchedules", pb.ListSchedulesResponse(schedules=[SHOWN]))

    assert run(["schedule", "get", "nightly", *TENANT, "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["schedule"]["delivered"] is True
    assert run(["schedule", "list", *TENANT]) == 0
    assert "nightly" in capsys.readouterr().out


def test_a_schedule_is_paused_resumed_triggered_and_deleted(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    api.on("PauseSchedule", pb.PauseScheduleResponse(schedule=SHOWN))
    api.on("ResumeSchedule", pb.ResumeScheduleResponse(schedule=SHOWN))
    api.on("TriggerSchedule", pb.TriggerScheduleResponse(run=run_pb2.Run(run_id="the-run")))
    api.on("DeleteSchedule", pb.DeleteScheduleResponse())

    assert run(["schedule", "pause", "nightly", "--reason", "holidays", *TENANT]) == 0
    assert run(["schedule", "resume", "nightly", *TENANT]) == 0
    assert run(["schedule", "trigger", "nightly", "--request-id", "mine", *TENANT]) == 0
    assert "the-run" in capsys.readouterr().out
    assert run(["schedule", "delete", "nightly", *TENANT]) == 0
    (paused,) = api.called("PauseSchedule")
    (triggered,) = api.called("TriggerSchedule")
    assert (paused.request.reason, triggered.request.request_id) == ("holidays", "mine")


def test_times_that_have_passed_are_made_up(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    api.on("BackfillSchedule", pb.BackfillScheduleResponse(time_count=7))
    times = ("--from", "2026-11-01T00:00:00+09:00", "--to", "2026-11-08T00:00:00")

    assert run(["schedule", "backfill", "nightly", *times, *TENANT]) == 0
    (sent,) = [call.request for call in api.called("BackfillSchedule")]
    assert sent.start_time.ToJsonString() == "2026-10-31T15:00:00Z"
    assert sent.end_time.ToJsonString() == "2026-11-08T00:00:00Z"
    assert "7" in capsys.readouterr().out
    assert run(["schedule", "backfill", "nightly", "--from", "x", "--to", "y", *TENANT]) == 2
