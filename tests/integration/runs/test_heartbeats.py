"""What the heartbeats of a walk tell of it: what is done, and what that waits for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from temporalio.testing import ActivityEnvironment
from tests.support.runs_worker import COPY

from runs.domain.activities import StepRef, Walk
from runs.domain.runs import RunStatus
from servicekit.call import on_behalf_of
from servicekit.errors import PeerUnavailable

if TYPE_CHECKING:
    from tests.support.runs_peers import FakeArtifacts
    from tests.support.runs_worker import RunsWorker


class Beats:
    """The heartbeats of an activity."""

    def __init__(self) -> None:
        self._beats: asyncio.Queue[tuple[str, ...]] = asyncio.Queue()

    def take(self, *details: str) -> None:
        self._beats.put_nowait(details)

    async def until(self, *details: str) -> None:
        """Wait for a heartbeat that tells this."""
        async with asyncio.timeout(20):
            while await self._beats.get() != details:
                pass


def walk(worker: RunsWorker, beats: Beats) -> asyncio.Task[object]:
    """Walk a run's only step in an activity whose heartbeats are kept."""
    work = worker.work
    whole = Walk("acme", work.run_id, 1, [work.step], begins_run=True, completes_run=True)
    environment = ActivityEnvironment()
    environment.on_heartbeat = beats.take
    return asyncio.create_task(environment.run(worker.activities.walks.walk, whole))


async def test_a_large_input_that_is_being_copied_is_seen_while_the_run_is_pending(
    worker: RunsWorker, files: FakeArtifacts
) -> None:
    await worker.service.pipeline(COPY)
    pointer = {"path": "storage/acme/x/input/output.json", "digest": "a" * 64}
    files.files[pointer["path"]] = pointer["digest"]
    with on_behalf_of(tenant_id="acme", user_id="ada"):
        run = await worker.service.run(pointer=pointer)
    worker.work = StepRef("acme", run.run_id, 1, "copy")
    beats = Beats()
    walking = walk(worker, beats)
    await beats.until("", "the run's input is being copied")

    assert (await worker.service.find(run.run_id)).status is RunStatus.PENDING
    files.copied.set()
    await walking
    assert (await worker.service.find(run.run_id)).status is RunStatus.COMPLETED


async def test_a_service_that_is_away_is_seen_with_the_step_that_waits_for_it(
    worker: RunsWorker, files: FakeArtifacts
) -> None:
    await worker.begin(COPY)
    files.refusal = PeerUnavailable("artifacts cannot be reached")
    beats = Beats()
    walking = walk(worker, beats)
    await beats.until("copy", "artifacts cannot be reached")

    files.refusal = None
    await walking
    assert (await worker.service.find(worker.work.run_id)).status is RunStatus.COMPLETED
