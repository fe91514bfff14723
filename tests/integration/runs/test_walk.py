"""Chains of steps on a real database: the activities are called as Temporal calls them.

Artifacts is played; the worker's one function is called `copy`.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from temporalio.exceptions import ApplicationError
from tests.integration.runs.test_steps import events_of
from tests.support.runs_worker import COPY, MAPPED, SHORT, RunsWorker, after, steps_of
from tests.support.waiting import wait_until

from runs.domain.activities import Walked
from runs.domain.runs import RunStatus

if TYPE_CHECKING:
    import asyncpg
    from tests.support.runs_peers import FakeArtifacts

    from jsonvalues import JsonValue


RUN_BEGUN = [("run", "pending"), ("run", "running")]


@pytest.mark.parametrize("kind", [COPY, SHORT], ids=["functions", "short functions"])
async def test_a_chain_leaves_what_its_steps_would_leave_one_by_one(
    worker: RunsWorker, files: FakeArtifacts, database: asyncpg.Connection, kind: dict[str, Any]
) -> None:
    run_id = (await worker.create(*after(kind, "a", "b", "c"))).run_id
    assert await worker.walk("a", "b", "c") == Walked()

    one = [("step", "completed")] if kind is SHORT else [("step", "running"), ("step", "completed")]
    assert await events_of(database) == [*RUN_BEGUN, *one * 3, ("run", "completed")]
    assert await steps_of(database) == [("completed", 0)] * 3
    assert (await worker.service.find(run_id)).status is RunStatus.COMPLETED
    paths = [f"storage/acme/{run_id}/{step}/output.json" for step in ("input", "a", "b", "c")]
    assert files.sent == paths
    assert files.batches == (1 if kind is SHORT else 4)
    assert await database.fetchval("SELECT count(*) FROM outbox") == 0
    numbers = await database.fetch("SELECT seq FROM run_events ORDER BY seq")
    assert [row["seq"] for row in numbers] == list(range(1, len(numbers) + 1))


async def test_short_steps_read_what_is_not_committed_yet(
    worker: RunsWorker, files: FakeArtifacts
) -> None:
    run_id = (await worker.create(*after(SHORT, "a", "b"))).run_id

    async def value() -> JsonValue:
        assert worker.context is not None
        if worker.context.step == "a":
            return {"it": [1, 2]}
        (before,) = worker.context.outputs["a"]
        return await worker.context.read(replace(before, json_pointer="/it/1"))

    worker.does = value
    await worker.walk("a", "b")

    assert files.contents[f"storage/acme/{run_id}/b/output.json"] == b"2"
    assert files.batches == 1


async def test_a_function_gets_the_same_element_of_the_steps_that_it_names(
    worker: RunsWorker, files: FakeArtifacts
) -> None:
    kind = {"function": "copy", "element_outputs": ["a"]}
    second = {"step": "b", "needs": ["a"], "map": {"step": "input"}, "function": kind}
    await worker.begin({**MAPPED, "step": "a"}, second)
    got: list[tuple[int, str, frozenset[str]]] = []

    async def look() -> JsonValue:
        assert worker.context is not None
        if worker.context.step == "b":
            (one,) = worker.context.outputs["a"]
            got.append((worker.context.item, one.path, worker.context.mapped_steps))
        return worker.context.item

    worker.does = look
    await worker.walk("a", "b", first=1, last=3, completes_run=False)

    folder = f"storage/acme/{worker.work.run_id}/a/artifacts"
    expected = [(item, f"{folder}/{item}-1/output.json", frozenset()) for item in (1, 2, 3)]
    assert sorted(got) == expected


@pytest.mark.parametrize("kind", [COPY, SHORT], ids=["functions", "short functions"])
async def test_a_chain_that_is_walked_again_does_what_is_left(
    worker: RunsWorker, database: asyncpg.Connection, kind: dict[str, Any]
) -> None:
    step = {**kind, "retry": {"backoff": "3600s"}}
    await worker.create(*after(step, "a", "b", "c"))
    called: list[str] = []

    async def fail_once() -> JsonValue:
        assert worker.context is not None
        called.append(worker.context.step)
        if called == ["a", "b"]:
            raise ValueError
        return None

    worker.does = fail_once
    with pytest.raises(ApplicationError) as failed:
        await worker.walk("a", "b", "c")
    assert failed.value.next_retry_delay is not None
    assert 3_599 < failed.value.next_retry_delay.total_seconds() <= 3_600
    assert await steps_of(database) == [("completed", 0), ("running", 0)]

    await worker.walk("a", "b", "c")
    assert called == ["a", "b", "b", "c"]
    assert await steps_of(database) == [("completed", 0), ("completed", 1), ("completed", 0)]
    assert (await events_of(database))[-1] == ("run", "completed")


async def test_a_short_pause_before_the_next_attempt_is_waited_for(
    worker: RunsWorker, database: asyncpg.Connection
) -> None:
    await worker.create(*after({**COPY, "retry": {"backoff": "0.010s"}}, "a", "b"))
    called: list[str] = []

    async def fail_twice() -> JsonValue:
        assert worker.context is not None
        called.append(worker.context.step)
        if len(called) < 3:
            raise ValueError
        return None

    worker.does = fail_twice
    await worker.walk("a", "b")

    assert called == ["a", "a", "a", "b"]
    assert await steps_of(database) == [("completed", 2), ("completed", 0)]


async def test_the_last_attempt_that_fails_is_the_end_of_the_chain(
    worker: RunsWorker, database: asyncpg.Connection
) -> None:
    await worker.create(*after({**COPY, "retry": {"max_attempts": 1}}, "a", "b"))

    async def fail() -> JsonValue:
        raise ValueError

    worker.does = fail
    with pytest.raises(ApplicationError) as failed:
        await worker.walk("a", "b")

    assert failed.value.non_retryable
    assert await steps_of(database) == [("failed", 0)]


async def test_an_attempt_that_is_handed_over_goes_on(
    worker: RunsWorker, database: asyncpg.Connection
) -> None:
    ref = await worker.begin({**COPY, "step": "a"})
    attempt = await worker.service.journal.begin(ref)
    assert attempt is not None
    await worker.walk("a", attempts=[[0, 0, attempt.row_id, attempt.attempt, 0, 0]])

    assert await attempts_of(database) == [("completed", None)]
    assert await steps_of(database) == [("completed", 0)]


async def test_an_attempt_that_its_worker_may_have_died_of_does_not_go_on_twice(
    worker: RunsWorker, database: asyncpg.Connection
) -> None:
    ref = await worker.begin({**COPY, "step": "a"})
    attempt = await worker.service.journal.begin(ref)
    assert attempt is not None
    handed_over = [[0, 0, attempt.row_id, attempt.attempt, 0, 0]]
    await worker.walk("a", attempts=handed_over, heartbeat_details=["a"])

    assert await attempts_of(database) == [("failed", "LOST"), ("completed", None)]


async def test_a_failed_element_waits_while_the_others_are_done(
    worker: RunsWorker, database: asyncpg.Connection
) -> None:
    step = {**MAPPED, "step": "a", "retry": {"backoff": "3600s"}}
    await worker.begin(step)

    async def fail() -> JsonValue:
        assert worker.context is not None
        if worker.context.item == 2:
            raise ValueError
        return None

    worker.does = fail
    with pytest.raises(ApplicationError) as failed:
        await worker.walk("a", first=1, last=30, completes_run=False)

    assert failed.value.next_retry_delay is not None
    rows = await database.fetch("SELECT item, status FROM steps WHERE status <> 'completed'")
    assert [tuple(row) for row in rows] == [(2, "running")]
    assert await database.fetchval("SELECT count(*) FROM steps") == 30


async def test_a_run_that_is_cancelled_meanwhile_stays_cancelled(
    worker: RunsWorker, database: asyncpg.Connection
) -> None:
    await worker.create(*after(COPY, "a", "b"))

    async def cancel() -> JsonValue:
        await worker.finish(RunStatus.CANCELLED)
        return None

    worker.does = cancel
    with pytest.raises(ApplicationError) as closed:
        await worker.walk("a", "b")

    assert (closed.value.type, closed.value.non_retryable) == ("RUN_CLOSED", True)
    assert await steps_of(database) == [("cancelled", 0)]
    assert (await events_of(database))[-1] == ("run", "cancelled")


async def test_a_run_whose_first_short_step_takes_longer_is_running_meanwhile(
    worker: RunsWorker, database: asyncpg.Connection
) -> None:
    ref = await worker.create(*after(SHORT, "a", "b"))

    async def until_running() -> JsonValue:
        await wait_until(lambda: is_running(worker, ref.run_id))
        return None

    worker.does = until_running
    await worker.walk("a", "b")

    assert await events_of(database) == [
        *RUN_BEGUN,
        *[("step", "completed")] * 2,
        ("run", "completed"),
    ]


async def test_a_pending_run_that_is_cancelled_stops_its_short_step(
    worker: RunsWorker, database: asyncpg.Connection
) -> None:
    ref = await worker.create(*after(SHORT, "a", "b"))
    stopped = asyncio.Event()

    async def cancel() -> JsonValue:
        await worker.service.steering.cancel("acme", ref.run_id)
        try:
            await asyncio.sleep(60)
        finally:
            stopped.set()

    worker.does = cancel
    with pytest.raises(ApplicationError) as closed:
        await asyncio.wait_for(worker.walk("a", "b"), 50)

    assert closed.value.type == "RUN_CLOSED"
    assert stopped.is_set()
    assert await events_of(database) == [("run", "pending"), ("run", "cancelled")]


async def is_running(worker: RunsWorker, run_id: str) -> bool:
    return (await worker.service.find(run_id)).status is RunStatus.RUNNING


async def test_a_walk_that_has_completed_its_run_is_done_when_it_is_asked_for_again(
    worker: RunsWorker, database: asyncpg.Connection
) -> None:
    await worker.create(*after(SHORT, "a", "b"))
    assert await worker.walk("a", "b") == await worker.walk("a", "b") == Walked()

    assert await steps_of(database) == [("completed", 0)] * 2


async def attempts_of(database: asyncpg.Connection) -> list[tuple[str, str | None]]:
    rows = await database.fetch("SELECT status, reason FROM step_attempts ORDER BY attempt")
    return [tuple(row) for row in rows]
