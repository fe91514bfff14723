"""Pausing, resuming and retrying runs: what begins, what is kept, and what is refused."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING

import pytest
from tests.integration.runs.steered_runs import SteeredRuns, assert_whole, begun, step
from tests.support.runs_service import make_due
from tests.support.waiting import wait_until

from runs.api.relay.reconciler import STALE_AFTER
from runs.domain.runs import Retry, RunStatus, RunStop
from runs.errors import (
    NothingToRetry,
    RunFinished,
    RunHeld,
    RunNotFinished,
    RunNotFound,
    RunStopping,
)

if TYPE_CHECKING:
    import asyncpg
    from tests.support.runs_peers import FakeArtifacts
    from tests.support.runs_service import RunsService

    from runs.api.launcher import Launcher

FAILED, PAUSED, COMPLETED = RunStatus.FAILED, RunStatus.PAUSED, RunStatus.COMPLETED
NO_RUN = "00000000-0000-0000-0000-000000000000"


async def test_a_run_is_paused_once_what_is_in_flight_has_ended_and_goes_on_there(
    steered: SteeredRuns, database: asyncpg.Connection
) -> None:
    run_id = await begun(steered, "b")
    asked = await steered.service.steering.pause("acme", run_id)
    assert (asked.status, asked.stop) == (RunStatus.RUNNING, RunStop.PAUSE)
    again = await steered.service.steering.pause("acme", run_id)
    assert again.last_sequence == asked.last_sequence

    await asyncio.sleep(1.5)  # long enough to be told, and to begin something
    assert (await steered.service.find(run_id)).status is RunStatus.RUNNING
    steered.may_end.set()
    paused = await steered.reached(run_id, PAUSED)
    assert paused.stop is None
    assert steered.noted == [(name, 0, word) for name in "ab" for word in ("began", "ended")]
    assert (
        await database.fetchval("SELECT count(*) FROM step_attempts WHERE status = 'running'") == 0
    )

    resumed = await steered.service.steering.resume("acme", run_id)
    assert resumed.status is RunStatus.RUNNING
    await steered.reached(run_id, COMPLETED)
    assert steered.noted == [(name, 0, word) for name in "abc" for word in ("began", "ended")]
    await assert_whole(database)


async def test_a_pause_that_is_recorded_twice_stays_one(
    steered: SteeredRuns, database: asyncpg.Connection
) -> None:
    run_id = await begun(steered, "b")
    await steered.service.steering.pause("acme", run_id)
    steered.may_end.set()
    await steered.reached(run_id, PAUSED)

    epoch = await database.fetchval("SELECT epoch FROM runs")
    cancelled = RunStatus.CANCELLED
    found = await steered.service.finalizer.finish("acme", run_id, epoch, cancelled)
    assert found is not None
    assert found.status is PAUSED
    await steered.service.steering.resume("acme", run_id)
    await steered.reached(run_id, COMPLETED)
    await assert_whole(database)


async def test_a_pause_of_a_map_ends_the_elements_that_are_done_and_begins_no_other(
    steered: SteeredRuns, database: asyncpg.Connection, files: FakeArtifacts
) -> None:
    elements = [*range(30)]
    files.values = json.dumps(elements).encode()
    steered.waiting = {"each"}
    await steered.service.pipeline(step("each", map={"step": "input"}), step("last", "each"))
    run_id = (await steered.service.run(inline=elements)).run_id
    await steered.began("each", item=1)
    await steered.service.steering.pause("acme", run_id)
    await asyncio.sleep(1)
    steered.may_end.set()
    await steered.reached(run_id, PAUSED)
    begun_before = {item for _, item, word in steered.noted if word == "began"}
    assert len(begun_before) < len(elements)
    assert {item for _, item, word in steered.noted if word == "ended"} == begun_before

    await steered.service.steering.resume("acme", run_id)
    await steered.reached(run_id, COMPLETED)
    for item in range(1, len(elements) + 1):
        assert steered.count("each", "began", item) == 1
    await assert_whole(database)


async def test_a_step_that_waits_for_its_next_attempt_is_not_in_flight(
    steered: SteeredRuns,
) -> None:
    steered.retried = {"a"}
    retry = {"max_attempts": 5, "backoff": "30s"}
    await steered.service.pipeline(step("a", retry=retry))
    run_id = (await steered.service.run()).run_id
    await steered.began("a")
    await steered.service.steering.pause("acme", run_id)
    await steered.reached(run_id, PAUSED, seconds=25)

    steered.retried = set()
    await steered.service.steering.resume("acme", run_id)
    await steered.reached(run_id, COMPLETED)
    assert steered.count("a", "began") == 2


async def test_a_run_that_has_not_begun_is_paused_at_once(
    service: RunsService, database: asyncpg.Connection
) -> None:
    await service.pipeline()
    run = await service.run()
    paused = await service.steering.pause("acme", run.run_id)
    assert (paused.status, paused.start_time) == (PAUSED, None)
    assert await database.fetchval("SELECT count(*) FROM outbox") == 0

    resumed = await service.steering.resume("acme", run.run_id)
    assert resumed.status is RunStatus.PENDING
    assert await database.fetchval("SELECT epoch FROM runs") == 3


async def test_a_pause_that_is_withdrawn_before_it_is_reached_loses_nothing(
    steered: SteeredRuns, database: asyncpg.Connection, registry: asyncpg.Connection
) -> None:
    run_id = await begun(steered, "b")
    await steered.service.steering.pause("acme", run_id)
    withdrawn = await steered.service.steering.resume("acme", run_id)
    assert (withdrawn.status, withdrawn.stop) == (RunStatus.RUNNING, RunStop.RESUME)
    steered.may_end.set()
    relay = steered.service.relay(steered.service.launcher, STALE_AFTER)

    async def completed() -> bool:
        await make_due(database, registry)
        await relay.poll()
        return (await steered.service.find(run_id)).status is COMPLETED

    await wait_until(completed)
    statuses = await database.fetch(
        "SELECT payload ->> 'status' FROM run_events WHERE kind = 'run'"
    )
    assert "paused" not in {row[0] for row in statuses}
    assert steered.noted == [(name, 0, word) for name in "abc" for word in ("began", "ended")]
    await assert_whole(database)


async def test_a_paused_run_is_cancelled_at_once_and_one_that_is_to_pause_is_cancelled_too(
    steered: SteeredRuns, database: asyncpg.Connection
) -> None:
    run_id = await begun(steered, "b")
    await steered.service.steering.pause("acme", run_id)
    asked = await steered.service.steering.cancel("acme", run_id)
    assert asked.stop is RunStop.CANCEL
    with pytest.raises(RunStopping):
        await steered.service.steering.resume("acme", run_id)
    await steered.reached(run_id, RunStatus.CANCELLED)
    assert steered.count("b", "cancelled") == 1

    other = (await steered.service.run()).run_id
    await steered.service.steering.pause("acme", other)
    await wait_until(lambda: _is_paused(steered, other))
    cancelled = await steered.service.steering.cancel("acme", other)
    assert cancelled.status is RunStatus.CANCELLED
    await assert_whole(database)


async def _is_paused(steered: SteeredRuns, run_id: str) -> bool:
    steered.may_end.set()
    return (await steered.service.find(run_id)).status is PAUSED


@pytest.mark.parametrize("short", [True, False])
async def test_a_cancellation_reaches_a_step_of_any_kind_within_moments(
    steered: SteeredRuns, *, short: bool
) -> None:
    run_id = await begun(steered, "a", step("a", short=short))
    await asyncio.sleep(0.2)
    began = time.monotonic()
    await steered.service.steering.cancel("acme", run_id)
    await steered.reached(run_id, RunStatus.CANCELLED)
    assert time.monotonic() - began < 6.0  # Temporal alone would tell it after 7 s

    async def cancelled() -> bool:
        return steered.count("a", "cancelled") == 1

    await wait_until(cancelled)


async def test_what_cannot_be_steered_is_refused(
    service: RunsService, database: asyncpg.Connection
) -> None:
    await service.pipeline()
    running, held = await service.run(), await service.run(hold=True)
    steering, retry = service.steering, Retry("x")
    for call in (steering.pause, steering.resume, steering.cancel):
        with pytest.raises(RunNotFound):
            await call("acme", NO_RUN)
    with pytest.raises(RunNotFound):
        await steering.retry("acme", NO_RUN, retry)
    with pytest.raises(RunHeld):
        await steering.pause("acme", held.run_id)
    with pytest.raises(RunNotFinished):
        await steering.retry("acme", running.run_id, retry)
    await steering.cancel("acme", held.run_id)
    with pytest.raises(NothingToRetry):
        await steering.retry("acme", held.run_id, retry)
    await steering.cancel("acme", running.run_id)
    for call in (steering.pause, steering.resume):
        with pytest.raises(RunFinished):
            await call("acme", running.run_id)
    await database.execute("UPDATE runs SET status = 'completed' WHERE id = $1", running.run_id)
    with pytest.raises(RunFinished):
        await steering.retry("acme", running.run_id, retry)


async def test_a_late_stop_of_an_earlier_epoch_does_not_reach_the_next(
    steered: SteeredRuns,
) -> None:
    run_id = await begun(steered, "b")
    steered.may_end.set()
    await steered.service.steering.pause("acme", run_id)
    await steered.reached(run_id, PAUSED)
    steered.waiting, steered.may_end = {"c"}, asyncio.Event()
    await steered.service.steering.resume("acme", run_id)
    await steered.began("c")
    await steered.service.finalizer.stop("acme", run_id, 1)
    await asyncio.sleep(0.5)
    assert (await steered.service.find(run_id)).status is RunStatus.RUNNING
    steered.may_end.set()
    await steered.reached(run_id, COMPLETED)


async def test_a_run_whose_next_workflow_was_not_started_is_not_taken_for_lost(
    steered: SteeredRuns,
    unreachable_launcher: Launcher,
    database: asyncpg.Connection,
    registry: asyncpg.Connection,
) -> None:
    run_id = await begun(steered, "b")
    steered.may_end.set()
    await steered.service.steering.pause("acme", run_id)
    await steered.reached(run_id, PAUSED)
    await steered.service.with_launcher(unreachable_launcher).steering.resume("acme", run_id)
    await database.execute("UPDATE runs SET updated_at = now() - interval '1 hour'")
    await database.execute("UPDATE outbox SET due_at = now() + interval '1 hour'")
    relay = steered.service.relay(steered.service.launcher, STALE_AFTER)
    await registry.execute("UPDATE runs_pending_work SET due_at = now()")
    await relay.poll()
    assert (await steered.service.find(run_id)).status is RunStatus.RUNNING

    await make_due(database, registry)
    await relay.poll()
    await steered.reached(run_id, COMPLETED)
