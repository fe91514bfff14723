from __future__ import annotations

import pytest
from temporalio.api.failure.v1 import Failure
from temporalio.exceptions import ApplicationError

from runs.domain.activities import MappedList, RunEnd, RunRef, StepRef, StepResult
from runs.domain.plan import PLAN_LIMIT, RunStart
from runs.temporal.client import data_converter
from runs.temporal.failure_converter import MESSAGE_LIMIT
from runs.temporal.payload_converter import PAYLOAD_TOO_LARGE, START_LIMIT
from runs.worker.superseded.workflows import MapPart

CONVERTER = data_converter()


def start(plan_bytes: int) -> RunStart:
    """Make a start whose plan takes about this many bytes."""
    return RunStart("a" * 40, "b" * 36, 1, [["x" * (plan_bytes - 10), []]])


def failure_of(error: BaseException) -> Failure:
    failure = Failure()
    CONVERTER.failure_converter.to_failure(error, CONVERTER.payload_converter, failure)
    return failure


def test_a_value_of_4_kib_passes_and_comes_back() -> None:
    (payload,) = CONVERTER.payload_converter.to_payloads(["x" * 4_000])

    assert CONVERTER.payload_converter.from_payload(payload) == "x" * 4_000


@pytest.mark.parametrize("value", ["x" * 4_096, {"body": "x" * 5_000}, b"x" * 5_000])
def test_a_larger_value_is_refused_for_good_and_is_not_in_the_refusal(value: object) -> None:
    with pytest.raises(ApplicationError) as refusal:
        CONVERTER.payload_converter.to_payloads([value])

    assert (refusal.value.type, refusal.value.non_retryable) == (PAYLOAD_TOO_LARGE, True)
    assert "xxx" not in str(refusal.value)


@pytest.mark.parametrize(
    "value",
    [
        RunRef("acme", "r", 2),
        StepRef("acme", "r", 1, "draft", item=3, visit=2),
        StepResult("storage/acme/r/draft/output.json", "0" * 64, "長い", {"characters": 7}),
        StepResult(),
        MappedList("0" * 64, 5),
        MappedList(skipped=True),
        RunEnd("acme", "r", 1, "failed", "INTERNAL", "internal error"),
        MapPart(RunRef("acme", "r", 1), [["draft", [], {"s": 1}]], 1, 200),
    ],
    ids=["run", "work", "result", "nothing", "listing", "skipped", "end", "part of a map"],
)
def test_what_workflows_and_activities_tell_each_other_comes_back_as_it_was(value: object) -> None:
    (payload,) = CONVERTER.payload_converter.to_payloads([value])

    assert CONVERTER.payload_converter.from_payload(payload, type(value)) == value


def test_a_value_of_a_newer_release_loses_what_is_not_known_and_of_an_older_gets_the_default() -> (
    None
):
    values = {"tenant_id": "acme", "run_id": "r", "epoch": 1, "step": "draft", "newer": True}
    (payload,) = CONVERTER.payload_converter.to_payloads([values])

    assert CONVERTER.payload_converter.from_payload(payload, StepRef) == StepRef(
        "acme", "r", 1, "draft"
    )


def test_the_largest_plan_can_start_a_workflow() -> None:
    largest = start(PLAN_LIMIT)
    (payload,) = CONVERTER.payload_converter.to_payloads([largest])

    assert CONVERTER.payload_converter.from_payload(payload, RunStart) == largest


def test_a_start_of_more_than_8_kib_is_refused() -> None:
    with pytest.raises(ApplicationError, match="RunStart takes"):
        CONVERTER.payload_converter.to_payloads([start(START_LIMIT)])


def test_a_failure_keeps_512_bytes_of_its_message_and_no_details() -> None:
    details = {"body": "CANARY" * 10_000}
    failure = failure_of(ApplicationError("長" * 10_000, details, type="TooBad"))

    assert failure.message == "長" * (MESSAGE_LIMIT // 3)
    assert failure.application_failure_info.type == "TooBad"
    assert not failure.application_failure_info.HasField("details")
    assert failure.ByteSize() < 700


def test_the_causes_of_a_failure_are_cut_too() -> None:
    try:
        try:
            raise ValueError("x" * 300_000)
        except ValueError as cause:
            raise ApplicationError("outer") from cause
    except ApplicationError as error:
        failure = failure_of(error)

    assert len(failure.cause.message) == MESSAGE_LIMIT
    assert (failure.stack_trace, failure.cause.stack_trace) == ("", "")
