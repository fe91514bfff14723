"""What happened in a run, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.runs_client import reason
from tests.support.runs_worker import COPY

from nagaya.runs.v1 import run_pb2, run_service_pb2
from runs.domain.failures import StepFailed, StepImpossible
from runs.domain.runs import RunStatus
from servicekit.errors import DomainError

if TYPE_CHECKING:
    from tests.support.runs_client import RunsClient
    from tests.support.runs_worker import RunsWorker

NO_RUN = "00000000-0000-0000-0000-000000000000"


async def timeline(
    client: RunsClient, run_id: str, *, page_size: int = 0, page_token: str = ""
) -> run_service_pb2.GetRunTimelineResponse:
    request = run_service_pb2.GetRunTimelineRequest(
        tenant_id="acme", run_id=run_id, page_size=page_size, page_token=page_token
    )
    return await client.runs.GetRunTimeline(request)


async def test_every_attempt_is_shown_with_its_reason(
    worker: RunsWorker, client: RunsClient
) -> None:
    work = await worker.begin(COPY)
    journal = worker.service.journal
    first = await journal.begin(work)
    assert first is not None
    await journal.fail(
        work, first, StepFailed("PROVIDER_UNAVAILABLE", "it is away"), None, final=False
    )
    await worker.run()
    await worker.finish(RunStatus.COMPLETED)

    found = await timeline(client, work.run_id)
    (step,) = found.steps
    assert (step.step.step, step.step.retry_count) == ("copy", 1)
    attempts = [(each.attempt, each.state, each.reason) for each in step.attempts]
    assert attempts == [
        (1, run_pb2.STEP_STATE_FAILED, "PROVIDER_UNAVAILABLE"),
        (2, run_pb2.STEP_STATE_COMPLETED, ""),
    ]
    for each in step.attempts:
        assert each.start_time.ToNanoseconds() <= each.end_time.ToNanoseconds()
    states = [phase.state for phase in found.phases]
    assert states == [
        run_pb2.RUN_STATE_PENDING,
        run_pb2.RUN_STATE_RUNNING,
        run_pb2.RUN_STATE_COMPLETED,
    ]
    ends = [phase.end_time for phase in found.phases[:-1]]
    assert ends == [phase.start_time for phase in found.phases[1:]]
    assert not found.phases[-1].HasField("end_time")


async def test_a_timeline_comes_in_pages(worker: RunsWorker, client: RunsClient) -> None:
    work = await worker.begin(
        *({"step": f"s{n}", "function": {"function": "copy"}} for n in (1, 2, 3))
    )
    for name in ("s1", "s2", "s3"):
        worker.work = type(work)("acme", work.run_id, 1, name)
        await worker.run()

    first = await timeline(client, work.run_id, page_size=2)
    second = await timeline(client, work.run_id, page_token=first.next_page_token)
    assert [each.step.step for each in (*first.steps, *second.steps)] == ["s1", "s2", "s3"]
    assert (bool(first.phases), bool(second.phases), second.next_page_token) == (True, False, "")


async def test_there_is_no_timeline_of_a_run_that_does_not_exist(client: RunsClient) -> None:
    with pytest.raises(DomainError) as refusal:
        await timeline(client, NO_RUN)
    assert reason(refusal) == "RUN_NOT_FOUND"


async def test_failed_steps_are_listed_with_element_reason_and_message(
    worker: RunsWorker, client: RunsClient
) -> None:
    work = await worker.begin(COPY)
    journal = worker.service.journal
    for item in (1, 2):
        element = type(work)("acme", work.run_id, 1, "copy", item)
        attempt = await journal.begin(element)
        assert attempt is not None
        if item == 2:
            refused = StepImpossible("PROVIDER_REFUSED", "it says no")
            await journal.fail(element, attempt, refused, None, final=True)

    request = run_service_pb2.ListRunStepsRequest(
        tenant_id="acme", run_id=work.run_id, state=run_pb2.STEP_STATE_FAILED
    )
    (failed,) = (await client.runs.ListRunSteps(request)).run_steps
    error = failed.error
    assert (failed.item, error.item, error.visit, error.reason) == (2, 2, 1, "PROVIDER_REFUSED")
    request.state, request.step = run_pb2.STEP_STATE_UNSPECIFIED, "other"
    assert not (await client.runs.ListRunSteps(request)).run_steps

    await worker.finish(RunStatus.FAILED)
