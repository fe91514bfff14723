"""Short steps that are the first of their run begin it; artifacts is played."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment
from tests.integration.runs.test_steps import events_of
from tests.support.runs_worker import SHORT, RunsWorker, steps_of

from runs.domain.inputs import input_path
from runs.domain.runs import RunStatus
from servicekit.errors import DataLoss, InvalidInput, Unavailable

if TYPE_CHECKING:
    import asyncpg
    from tests.support.runs_peers import FakeArtifacts

BEGUN = [("run", "pending"), ("run", "running")]


async def test_a_first_short_step_commits_the_input_and_has_the_run_running(
    worker: RunsWorker, files: FakeArtifacts, database: asyncpg.Connection
) -> None:
    work = await worker.create({**SHORT, "needs": ["input"]})
    await worker.run_short()

    assert worker.context is not None
    (source,) = worker.context.outputs["input"]
    path = input_path("storage/acme", work.run_id)
    assert (source.path, source.digest) == (path, files.files[path])
    assert await events_of(database) == [*BEGUN, ("step", "completed")]
    assert (await worker.service.find(work.run_id)).status is RunStatus.RUNNING
    assert await database.fetchval("SELECT count(*) FROM outbox") == 0


async def test_of_short_steps_that_are_the_first_together_one_begins_the_run(
    worker: RunsWorker, files: FakeArtifacts, database: asyncpg.Connection
) -> None:
    work = await worker.create(*({**SHORT, "step": f"copy{number}"} for number in range(8)))
    works = [replace(work, step=f"copy{number}") for number in range(8)]
    perform = worker.steps.run_short_step
    await asyncio.gather(*(ActivityEnvironment().run(perform, each) for each in works))

    assert files.sent.count(input_path("storage/acme", work.run_id)) == 1
    assert await events_of(database) == [*BEGUN, *[("step", "completed")] * 8]


async def test_two_workers_begin_a_run_once(
    worker: RunsWorker, other_worker: RunsWorker, database: asyncpg.Connection
) -> None:
    worker.work = other_worker.work = await worker.create(SHORT)
    one, other = await asyncio.gather(worker.run_short(), other_worker.run_short())

    assert one == other
    assert await events_of(database) == [*BEGUN, ("step", "completed")]


async def test_an_input_that_is_refused_fails_the_run_before_its_first_step(
    worker: RunsWorker, files: FakeArtifacts, database: asyncpg.Connection
) -> None:
    await worker.create(SHORT)
    files.refusal = InvalidInput("it is not wanted")
    with pytest.raises(ApplicationError) as failed:
        await worker.run_short()

    assert (failed.value.message, failed.value.non_retryable) == ("it is not wanted", True)
    assert await steps_of(database) == []
    assert await events_of(database) == BEGUN[:1]


async def test_an_input_that_was_spoilt_on_its_way_is_tried_again(
    worker: RunsWorker, files: FakeArtifacts, database: asyncpg.Connection
) -> None:
    await worker.create(SHORT)
    files.refusal = DataLoss("it came in another shape")
    with pytest.raises(ApplicationError) as failed:
        await worker.run_short()
    assert not failed.value.non_retryable

    files.refusal = None
    await worker.run_short()
    assert await events_of(database) == [*BEGUN, ("step", "completed")]


async def test_a_first_step_waits_for_artifacts(
    worker: RunsWorker, files: FakeArtifacts, database: asyncpg.Connection
) -> None:
    await worker.create(SHORT)
    files.refusal = Unavailable("away")
    step = asyncio.create_task(worker.run_short())
    await asyncio.wait_for(files.refused.wait(), 50)
    files.refusal = None
    await asyncio.wait_for(step, 50)

    assert await events_of(database) == [*BEGUN, ("step", "completed")]


async def test_a_run_that_is_cancelled_before_its_first_step_gets_none(
    worker: RunsWorker, database: asyncpg.Connection
) -> None:
    work = await worker.create(SHORT)
    await worker.service.steering.cancel("acme", work.run_id)
    with pytest.raises(ApplicationError) as closed:
        await worker.run_short()

    assert (closed.value.type, closed.value.non_retryable) == ("RUN_CLOSED", True)
    assert worker.context is None
    assert await events_of(database) == [("run", "pending"), ("run", "cancelled")]
