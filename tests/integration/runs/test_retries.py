"""Retrying runs that failed or were cancelled: what is done again, and what is kept."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest
from tests.integration.runs.steered_runs import CHAIN, SteeredRuns, assert_whole, begun, step
from tests.support.waiting import wait_until

from runs.api.watch import RunWatcher
from runs.domain.events import RunEvent
from runs.domain.runs import Failure, Retry, Run, RunStatus
from runs.errors import NothingToRetry
from runs.store import steps

if TYPE_CHECKING:
    import asyncpg
    from tests.support.runs_peers import FakeArtifacts

    from dataplane.tenants import TenantPools

FAILED, COMPLETED = RunStatus.FAILED, RunStatus.COMPLETED


async def test_a_retry_does_again_what_failed_and_keeps_what_is_done(
    steered: SteeredRuns, database: asyncpg.Connection, tenants: TenantPools
) -> None:
    steered.failing = {("b", 0)}
    await steered.service.pipeline(*CHAIN)
    run_id = (await steered.service.run()).run_id
    failed = await steered.reached(run_id, FAILED)
    assert failed.error is not None
    assert failed.error.reason == "REFUSED"

    steered.failing = set()
    asked = Retry(secrets.token_hex(8))
    retried = await steered.service.steering.retry("acme", run_id, asked)
    assert (retried.status, retried.error, retried.end_time) == (RunStatus.RUNNING, None, None)
    repeated = await steered.service.steering.retry("acme", run_id, asked)
    await steered.reached(run_id, COMPLETED)
    assert repeated.run_id == run_id
    assert [steered.count(name, "began") for name in "abc"] == [1, 2, 1]
    assert await database.fetchval("SELECT epoch FROM runs") == 2
    await assert_whole(database)

    seen = [
        part.subject.status
        async for part in RunWatcher(tenants).watch("acme", run_id, 0)
        if isinstance(part, RunEvent) and isinstance(part.subject, Run)
    ]
    assert (seen[-1], FAILED in seen) == (COMPLETED, True)


async def test_a_retry_of_one_element_leaves_the_others_as_they_are(
    steered: SteeredRuns, database: asyncpg.Connection, files: FakeArtifacts
) -> None:
    files.values = b"[1, 2, 3]"
    steered.failing = {("each", 2)}
    await steered.service.pipeline(step("each", map={"step": "input"}), step("last", "each"))
    run_id = (await steered.service.run(inline=[1, 2, 3])).run_id
    await steered.reached(run_id, FAILED)
    for other in (1, 3):
        with pytest.raises(NothingToRetry):
            await steered.service.steering.retry("acme", run_id, Retry("x", "last", other))

    steered.failing = set()
    await steered.service.steering.retry("acme", run_id, Retry("y", "each", 2))
    await steered.reached(run_id, COMPLETED)
    assert steered.count("each", "began", 2) == 2
    await assert_whole(database)


async def test_what_the_failure_of_another_step_interrupts_is_cancelled_and_done_by_a_retry(
    steered: SteeredRuns, database: asyncpg.Connection
) -> None:
    steered.failing = {("x", 0)}
    steered.waiting = {"y"}
    await steered.service.pipeline(step("x", "z"), step("y"), step("z"))
    run_id = (await steered.service.run()).run_id
    await steered.began("y")
    await steered.reached(run_id, FAILED)
    sql = """
        SELECT steps.status, attempts.status, error ->> 'reason'
          FROM steps JOIN step_attempts AS attempts ON step_id = steps.id
         WHERE step = $1
    """
    assert tuple(await database.fetchrow(sql, "x") or ()) == ("failed", "failed", "REFUSED")
    assert tuple(await database.fetchrow(sql, "y") or ()) == ("cancelled", "cancelled", None)

    steered.failing = set()
    steered.may_end.set()
    await steered.service.steering.retry("acme", run_id, Retry("again"))
    await steered.reached(run_id, COMPLETED)
    assert [steered.count(name, "ended") for name in "xyz"] == [1, 1, 1]
    await assert_whole(database)


async def test_a_run_that_fails_again_names_the_step_that_had_failed_before(
    steered: SteeredRuns,
) -> None:
    steered.failing = {("x", 0), ("y", 0)}
    steered.waiting = {"x", "y"}
    await steered.service.pipeline(step("x"), step("y"))
    run_id = (await steered.service.run()).run_id
    await steered.began("x")
    await steered.began("y")
    steered.may_end.set()
    await steered.reached(run_id, FAILED)

    steered.failing = {("y", 0)}
    await steered.service.steering.retry("acme", run_id, Retry("only x", "x"))
    failed = await steered.reached(run_id, FAILED)
    assert steered.count("x", "ended") == 1
    assert failed.error is not None
    assert (failed.error.step, failed.error.reason) == ("y", "REFUSED")


async def test_a_step_that_fails_after_a_pause_is_named(steered: SteeredRuns) -> None:
    run_id = await begun(steered, "b")
    steered.failing = {("c", 0)}
    await steered.service.steering.pause("acme", run_id)
    steered.may_end.set()
    await steered.reached(run_id, RunStatus.PAUSED)
    await steered.service.steering.resume("acme", run_id)

    failed = await steered.reached(run_id, FAILED)
    assert failed.error is not None
    assert (failed.error.step, failed.error.reason) == ("c", "REFUSED")


async def test_a_cancelled_run_goes_on_when_it_is_retried(
    steered: SteeredRuns, database: asyncpg.Connection
) -> None:
    run_id = await begun(steered, "b")
    await steered.service.steering.cancel("acme", run_id)
    await steered.reached(run_id, RunStatus.CANCELLED)
    steered.may_end.set()
    await steered.service.steering.retry("acme", run_id, Retry("x"))
    await steered.reached(run_id, COMPLETED)
    assert [steered.count(name, "ended") for name in "abc"] == [1, 1, 1]
    await assert_whole(database)


async def test_what_a_map_has_got_over_is_not_taken_up_again(
    steered: SteeredRuns, database: asyncpg.Connection, files: FakeArtifacts
) -> None:
    files.values = b"[1, 2, 3]"
    steered.failing = {("each", 2), ("last", 0)}
    tolerant = step("each", map={"step": "input", "allow_failed": 1})
    await steered.service.pipeline(tolerant, step("last", "each"))
    run_id = (await steered.service.run(inline=[1, 2, 3])).run_id
    run = await steered.reached(run_id, FAILED)
    assert run.error is not None
    assert (run.error.step, run.error.item) == ("last", 0)
    with pytest.raises(NothingToRetry):
        await steered.service.steering.retry("acme", run_id, Retry("x", "each", 2))

    steered.failing = set()
    await steered.service.steering.retry("acme", run_id, Retry("y"))
    await steered.reached(run_id, COMPLETED)
    assert steered.count("each", "began", 2) == 1
    states = "SELECT status FROM steps WHERE step = 'each' ORDER BY item"
    found = [row["status"] for row in await database.fetch(states)]
    assert found == ["completed", "completed", "failed", "completed"]
    await assert_whole(database)


async def test_an_element_that_was_tolerated_is_not_why_a_run_failed(
    steered: SteeredRuns, tenants: TenantPools, files: FakeArtifacts
) -> None:
    files.values = b"[1, 2, 3]"
    steered.failing, steered.retried = {("each", 2)}, {"last"}
    tolerant = step("each", map={"step": "input", "allow_failed": 1})
    await steered.service.pipeline(tolerant, step("last", "each", retry={"max_attempts": 1}))
    run = await steered.reached((await steered.service.run(inline=[1, 2, 3])).run_id, FAILED)
    assert run.error is not None
    assert (run.error.step, run.error.reason) == ("last", "BUSY")

    refused = Failure("REFUSED", "not this one")
    async with tenants.connection("acme") as connection:
        assert await steps.find_failure(connection, run.run_id, refused) is None


async def test_a_retry_of_one_step_takes_up_what_was_interrupted_between_two_attempts(
    steered: SteeredRuns, database: asyncpg.Connection
) -> None:
    steered.retried, steered.waiting = {"busy"}, {"waits"}
    patient = {"max_attempts": 3, "backoff": "60s"}
    await steered.service.pipeline(step("busy", retry=patient), step("waits"))
    run_id = (await steered.service.run()).run_id

    async def failed_once() -> bool:
        sql = "SELECT count(*) FROM step_attempts WHERE status = 'failed'"
        return await database.fetchval(sql) == 1

    await wait_until(failed_once)
    await steered.began("waits")
    await steered.service.steering.cancel("acme", run_id)
    await steered.reached(run_id, RunStatus.CANCELLED)

    steered.retried = set()
    steered.may_end.set()
    await steered.service.steering.retry("acme", run_id, Retry("x", "waits"))
    await steered.reached(run_id, COMPLETED)
    await assert_whole(database)
