"""Pieces of work on a real database: attempts that get lost or come late, runs that end meanwhile.

The activities are called as Temporal calls them; artifacts is played.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment
from tests.support.runs_worker import COPY, MAPPED, SHORT, RunsWorker, nothing, steps_of
from tests.support.waiting import fewer_run, wait_until

from runs.domain.runs import RunStatus
from runs.domain.transitions import StepOutcome, Transitions
from runs.store import journal, run_transitions
from servicekit.errors import InvalidInput, LimitExceeded

if TYPE_CHECKING:
    import asyncpg
    from tests.support.runs_peers import FakeArtifacts

    from jsonvalues import JsonValue


async def events_of(database: asyncpg.Connection) -> list[tuple[str, str]]:
    rows = await database.fetch(
        "SELECT kind, payload ->> 'status' AS status FROM run_events ORDER BY seq"
    )
    return [tuple(row) for row in rows]


async def test_what_is_done_is_not_done_again(
    worker: RunsWorker, database: asyncpg.Connection
) -> None:
    await worker.begin(COPY)
    done: list[int] = []

    async def note() -> JsonValue:
        done.append(1)
        return "text"

    worker.does = note
    assert await worker.run() == await worker.run()
    assert done == [1]
    assert await steps_of(database) == [("completed", 0)]


async def test_an_attempt_that_was_given_up_and_comes_late_changes_nothing(
    worker: RunsWorker, database: asyncpg.Connection
) -> None:
    work = await worker.begin(COPY)
    given_up = await worker.service.journal.begin(work)
    assert given_up is not None
    result = await worker.run()
    assert not await worker.service.journal.complete(work, given_up, StepOutcome())

    assert await steps_of(database) == [("completed", 1)]
    attempts = await database.fetch("SELECT status, reason FROM step_attempts ORDER BY attempt")
    assert [tuple(row) for row in attempts] == [("failed", "LOST"), ("completed", None)]
    assert await worker.run() == result


async def test_an_attempt_that_another_one_has_replaced_is_tried_again(
    worker: RunsWorker, database: asyncpg.Connection
) -> None:
    await worker.begin(COPY)
    worker.does = worker.late_begin
    with pytest.raises(ApplicationError) as replaced:
        await worker.run()
    assert not replaced.value.non_retryable
    assert await steps_of(database) == [("running", 1)]

    worker.does = nothing
    await worker.run()
    assert await steps_of(database) == [("completed", 2)]


@pytest.mark.parametrize("status", [RunStatus.CANCELLED, RunStatus.FAILED])
async def test_nothing_begins_in_a_run_that_ends_at_the_same_time(
    worker: RunsWorker, database: asyncpg.Connection, status: RunStatus
) -> None:
    work = await worker.begin(COPY)
    async with worker.service.tenants.transaction("acme") as ending:
        assert await run_transitions.finish(ending, work.run_id, 1, status) is not None
        beginning = asyncio.create_task(worker.run())
        await blocked(database, beginning)
    with pytest.raises(ApplicationError, match="the run is over") as refusal:
        await beginning

    assert refusal.value.type == "RUN_CLOSED"
    assert await steps_of(database) == []
    assert (await events_of(database))[-1] == ("run", status)


@pytest.mark.parametrize("status", [RunStatus.CANCELLED, RunStatus.FAILED])
async def test_what_has_just_begun_ends_with_its_run(
    worker: RunsWorker, database: asyncpg.Connection, status: RunStatus
) -> None:
    work = await worker.begin(COPY)
    async with worker.service.tenants.transaction("acme") as beginning:
        (begun,) = await journal.advance(beginning, work.run, [Transitions(begun=(work,))])
        assert begun.begun != (None,)
        ending = asyncio.create_task(worker.finish(status))
        await blocked(database, ending)
    await ending

    assert await steps_of(database) == [("cancelled", 0)]
    assert (await events_of(database))[-2:] == [("step", "cancelled"), ("run", status)]


async def test_a_short_step_is_not_recorded_in_a_run_that_ends_at_the_same_time(
    worker: RunsWorker, database: asyncpg.Connection
) -> None:
    work = await worker.begin(SHORT)
    async with worker.service.tenants.transaction("acme") as ending:
        assert await run_transitions.finish(ending, work.run_id, 1, RunStatus.CANCELLED) is not None
        doing = asyncio.create_task(worker.run_short())
        await blocked(database, doing)
    with pytest.raises(ApplicationError, match="the run is over"):
        await doing

    assert await steps_of(database) == []
    assert (await events_of(database))[-1] == ("run", "cancelled")


async def blocked(database: asyncpg.Connection, *doing: asyncio.Future[Any]) -> None:
    """Return when somebody waits for a lock in the tenant's database.

    Fails the test at once when the tasks that should wait have ended.
    """
    waiting = """
        SELECT count(*) FROM pg_stat_activity
         WHERE datname = current_database() AND wait_event_type = 'Lock'
    """
    await wait_until(lambda: database.fetchval(waiting), unless=fewer_run(doing))


async def test_a_short_step_counts_the_attempts_that_failed(
    worker: RunsWorker, database: asyncpg.Connection
) -> None:
    await worker.begin(SHORT)

    async def fail() -> JsonValue:
        raise ValueError

    worker.does = fail
    for _ in range(2):
        with pytest.raises(ApplicationError):
            await worker.run_short()
    worker.does = nothing
    await worker.run_short()

    assert await steps_of(database) == [("completed", 2)]


async def test_a_step_whose_attempts_never_report_again_is_given_up(
    worker: RunsWorker, database: asyncpg.Connection
) -> None:
    await worker.begin(COPY)
    for _ in range(20):
        await worker.late_begin()

    with pytest.raises(ApplicationError) as failed:
        await worker.run()

    assert (failed.value.type, failed.value.non_retryable) == ("WORKER_LOST", True)
    (row,) = await database.fetch("SELECT status, error ->> 'reason' AS reason FROM steps")
    assert tuple(row) == ("failed", "WORKER_LOST")


async def test_the_times_that_a_step_was_handed_back_do_not_lengthen_its_pauses(
    worker: RunsWorker, database: asyncpg.Connection
) -> None:
    work = await worker.begin({**COPY, "retry": {"backoff": "0.010s", "max_attempts": 3}})
    policy = RetryPolicy(initial_interval=timedelta(milliseconds=10))
    environment = ActivityEnvironment()
    environment.info = replace(environment.info, attempt=40, retry_policy=policy)

    async def fail() -> JsonValue:
        raise ValueError

    worker.does = fail
    pauses: list[timedelta | None] = []
    for _ in range(3):
        with pytest.raises(ApplicationError) as failure:
            await environment.run(worker.steps.run_step, work)
        pauses.append(failure.value.next_retry_delay)
    assert pauses == [timedelta(milliseconds=10), timedelta(milliseconds=20), None]
    assert await steps_of(database) == [("failed", 2)]


class ProviderLimited(LimitExceeded):
    reason = "ERROR_REASON_PROVIDER_LIMITED"


@pytest.mark.parametrize(
    ("metadata", "pause"),
    [
        ({"retry_after_ms": "3600000"}, timedelta(hours=1)),
        ({"retry_after_ms": "5"}, timedelta(milliseconds=10)),
        ({"final": "true"}, None),
    ],
)
async def test_a_step_waits_as_long_as_it_is_asked_to_and_temporal_does_the_waiting(
    worker: RunsWorker,
    database: asyncpg.Connection,
    metadata: dict[str, str],
    pause: timedelta | None,
) -> None:
    work = await worker.begin({**COPY, "retry": {"backoff": "0.010s", "max_attempts": 3}})
    environment = ActivityEnvironment()
    policy = RetryPolicy(initial_interval=timedelta(milliseconds=10))
    environment.info = replace(environment.info, retry_policy=policy)

    async def refuse() -> JsonValue:
        raise ProviderLimited("slow down", **metadata)

    worker.does = refuse
    with pytest.raises(ApplicationError) as failure:
        await environment.run(worker.steps.run_step, work)

    assert failure.value.next_retry_delay == pause
    assert failure.value.non_retryable == (pause is None)
    assert await steps_of(database) == [("running" if pause else "failed", 0)]


class TooLarge(InvalidInput):
    reason = "ERROR_REASON_BATCH_TOO_LARGE"


async def test_a_map_whose_manifest_cannot_be_committed_fails(
    worker: RunsWorker, files: FakeArtifacts, database: asyncpg.Connection
) -> None:
    work = await worker.begin(MAPPED)
    await worker.service.journal.begin(work)
    files.refusal = TooLarge("the manifest is too large")
    with pytest.raises(ApplicationError) as refusal:
        await worker.close_map()

    assert (refusal.value.type, refusal.value.non_retryable) == ("BATCH_TOO_LARGE", True)
    assert await steps_of(database) == [("failed", 0)]
