"""The auditor: what it finds in an event, and its command line before it has seen any history."""

from __future__ import annotations

import pytest
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import (
    ActivityTaskCompletedEventAttributes,
    ActivityTaskFailedEventAttributes,
    HistoryEvent,
)
from temporalio.client import WorkflowHistory

from nagaya_local.machine.ports import free_port
from runs.auditor import HistoryFinding, examine, main
from runs.domain.activities import StepResult
from runs.temporal.client import data_converter


@pytest.mark.parametrize("canary", ["a canary", "町家", 'said "no"', "two\nlines"])
def test_a_canary_is_found_in_a_result_and_in_a_message(canary: str) -> None:
    result = StepResult(summary=f"holds {canary} inside")
    completed = ActivityTaskCompletedEventAttributes()
    completed.result.payloads.extend(data_converter().payload_converter.to_payloads([result]))
    failed = ActivityTaskFailedEventAttributes(failure=Failure(message=f"holds {canary} inside"))
    events = [
        HistoryEvent(event_id=1, activity_task_completed_event_attributes=completed),
        HistoryEvent(event_id=2, activity_task_failed_event_attributes=failed),
    ]

    found = list(examine(WorkflowHistory("acme/1", events), [canary, "another canary"]))
    assert found == [HistoryFinding("acme/1", number, "holds a canary") for number in (1, 2)]


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TEMPORAL_ADDRESS", "NAGAYA_TEMPORAL_NAMESPACE"):
        monkeypatch.delenv(name, raising=False)


def test_it_tells_its_usage_without_any_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])

    printed = capsys.readouterr()
    assert (ended.value.code, printed.err) == (0, "")
    assert printed.out.startswith("usage: python -m runs.auditor [-h] [CANARY ...]\n")
    assert "TEMPORAL_ADDRESS" in printed.out


def test_without_an_address_it_says_what_to_set(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["a canary"]) == 2
    assert capsys.readouterr() == (
        "",
        "python -m runs.auditor: TEMPORAL_ADDRESS is not set: Temporal's frontend, "
        "`host:port` or `https://host:port`\n",
    )


def test_where_nobody_listens_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    address = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv("TEMPORAL_ADDRESS", address)

    assert main([]) == 2
    printed = f"python -m runs.auditor: Temporal cannot be reached at {address}\n"
    assert capsys.readouterr() == ("", printed)
