"""The workflow alone: which activities walk the chains of a plan."""

from __future__ import annotations

import asyncio
import sys
import uuid
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import pytest
from temporalio.client import WorkflowFailureError
from tests.integration.runs.recording_worker import (
    RecordedActivities,
    connect,
    replay,
    start,
    worker,
)
from tests.integration.runs.test_workflow import ARTIFACTS, chain
from tests.support.waiting import wait_until

from runs.domain.plan import Plan, PlanStep
from servicekit.policy import methods_of

if TYPE_CHECKING:
    from nagaya_local.parts.temporal import TemporalServer


async def test_what_may_begin_a_run_has_that_time_once_it_is_no_local_activity(
    temporal: TemporalServer,
) -> None:
    recorded = RecordedActivities(list_length=0, slow_begin=True)
    mapped = PlanStep("m", "function", short=True, map_step="input")
    step = PlanStep("slow", timeout_seconds=1)
    async with worker(temporal.address, recorded) as client:
        for plan in (Plan((mapped,)), Plan((step,))):
            await (await start(client, plan)).result()

    copying = timedelta(seconds=methods_of(ARTIFACTS)["CopyArtifact"].max_seconds)
    assert recorded.timeouts.keys() == {"open", "walk"}
    assert all(timeout and timeout > copying for timeout in recorded.timeouts.values())


async def test_a_chain_is_one_activity_which_completes_the_run(temporal: TemporalServer) -> None:
    sizes: dict[int, list[int]] = {}
    for short in (False, True):
        for length in (1, 3, 25):
            recorded = RecordedActivities()
            async with worker(temporal.address, recorded) as client:
                handle = await start(client, chain(length, short=short))
                await handle.result()
                history = await handle.fetch_history()
            await replay(history)
            (walk,) = recorded.walks
            assert (walk.begins_run, walk.completes_run, len(walk.steps)) == (True, True, length)
            assert recorded.ends == []
            sizes.setdefault(len(history.events), []).append(length)
            size = sum(event.ByteSize() for event in history.events)
            assert size < 4_096 + 1_024 * length

    assert sizes == {6: [1, 3, 25] * 2}


async def test_a_failed_run_does_no_elements_of_a_list_that_was_being_opened(
    temporal: TemporalServer,
) -> None:
    recorded = RecordedActivities()
    recorded.may_break = recorded.deaf_began
    steps = (PlanStep("a"), PlanStep("broken"), PlanStep("deaf-list", needs=("a",), map_step="a"))
    async with worker(temporal.address, recorded) as client:
        handle = await start(client, Plan(steps))
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        history = await handle.fetch_history()

    assert ("open deaf-list", 0) in recorded.done
    assert [walk.steps for walk in recorded.walks if "deaf-list" in walk.steps] == []
    await replay(history)


async def test_what_lasts_long_goes_on_in_an_activity_with_heartbeats(
    temporal: TemporalServer,
) -> None:
    recorded = RecordedActivities()
    plan = Plan((PlanStep("a"), PlanStep("slow", needs=("a",)), PlanStep("b", needs=("slow",))))
    async with worker(temporal.address, recorded) as client:
        handle = await start(client, plan)
        await handle.result()
        history = await handle.fetch_history()

    first, second = recorded.walks
    assert (first.attempts, second.attempts) == ([], [[0, 0, 1, 1, 0, 0]])
    assert second.steps == ["a", "slow", "b"]
    assert len(history.events) == 12
    await replay(history)


@pytest.mark.parametrize("step", ["failing", "broken"])
async def test_what_fails_for_ever_neither_grows_the_history_nor_keeps_the_worker(
    temporal: TemporalServer, step: str
) -> None:
    client = await connect(temporal.address, f"failing-{uuid.uuid4().hex[:8]}")
    handle = await start(client, Plan((PlanStep(step, short=True),)))
    command = (sys.executable, "-m", "tests.integration.runs.failing_worker")
    process = await asyncio.create_subprocess_exec(*command, temporal.address, client.identity)

    async def length_after(attempts: int) -> int | None:
        """Return how long the history is, once the activity was tried so often."""
        described = (await handle.describe()).raw_description
        tried = [activity.attempt for activity in described.pending_activities]
        length = described.workflow_execution_info.history_length
        return length if tried and tried[0] > attempts else None

    try:
        first = await wait_until(partial(length_after, 1), seconds=60)
        later = await wait_until(partial(length_after, 4), seconds=60)
        process.terminate()
        async with asyncio.timeout(60):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
        await handle.terminate()
    assert first == later < 12


async def test_a_branch_does_not_wait_for_the_depth_of_its_neighbours(
    temporal: TemporalServer,
) -> None:
    recorded = RecordedActivities()
    plan = Plan(
        (
            PlanStep("a"),
            PlanStep("b", needs=("a",), map_step="a"),
            PlanStep("endless"),
            PlanStep("last", needs=("b", "endless")),
        )
    )
    async with worker(temporal.address, recorded) as client:
        handle = await start(client, plan)
        await asyncio.wait_for(recorded.map_closed.wait(), 50)
        assert "last" not in {step for step, _ in recorded.done}
        await handle.cancel()
        with pytest.raises(WorkflowFailureError):
            await handle.result()
