from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import CancelledError
from tests.integration.runs.recording_worker import RecordedActivities, replay, start, worker

from runs.auditor import examine
from runs.domain.plan import WORKFLOW_VERSION, Plan, PlanStep
from runs.worker.scheduling import MAX_ITEMS_AT_ONCE
from runs.worker.superseded.workflows import ITEMS_IN_CHILD
from servicekit.policy import methods_of

if TYPE_CHECKING:
    from nagaya_local.parts.temporal import TemporalServer

BY_STEPS = 3
"""The last version of the workflow that schedules step by step."""

every_version = pytest.mark.parametrize("version", [BY_STEPS, WORKFLOW_VERSION])

ARTIFACTS = "nagaya.artifacts.v1.ArtifactService"


def chain(length: int, *, short: bool = False) -> Plan:
    names = [f"step{number:02}" for number in range(length)]
    before: list[tuple[str, ...]] = [(), *((name,) for name in names)]
    kind = "function" if short else "llm"
    return Plan(
        tuple(
            PlanStep(name, kind, needs, short) for name, needs in zip(names, before, strict=False)
        )
    )


@every_version
async def test_steps_are_done_after_what_they_need(temporal: TemporalServer, version: int) -> None:
    recorded = RecordedActivities()
    plan = Plan(
        (
            PlanStep("a"),
            PlanStep("b", needs=("a",)),
            PlanStep("c", needs=("a",)),
            PlanStep("d", needs=("b", "c")),
        )
    )
    async with worker(temporal.address, recorded) as client:
        await (await start(client, plan, version=version)).result()

    order = [step for step, _ in recorded.done]
    assert (order[0], sorted(order[1:3]), order[3]) == ("a", ["b", "c"], "d")
    assert recorded.statuses == ["completed"]


@every_version
async def test_a_pause_of_an_hour_between_attempts_is_possible(
    temporal: TemporalServer, version: int
) -> None:
    recorded = RecordedActivities()
    plan = Plan((PlanStep("a", backoff_ms=3_600_000),))
    async with worker(temporal.address, recorded) as client:
        async with asyncio.timeout(60):
            await (await start(client, plan, version=version)).result()

    assert recorded.statuses == ["completed"]


@every_version
async def test_a_run_that_is_closed_does_nothing(temporal: TemporalServer, version: int) -> None:
    recorded = RecordedActivities()
    async with worker(temporal.address, recorded) as client:
        await (await start(client, chain(2), epoch=0, version=version)).result()

    assert (recorded.done, recorded.statuses) == ([], [])


async def test_what_begins_a_run_has_the_time_that_a_large_input_is_copied_in(
    temporal: TemporalServer,
) -> None:
    recorded = RecordedActivities(list_length=0)
    mapped = PlanStep("m", "function", short=True, map_step="input")
    short = PlanStep("s", "function", short=True, timeout_seconds=1)
    async with worker(temporal.address, recorded) as client:
        for plan in (chain(1), Plan((mapped,)), Plan((short,))):
            await (await start(client, plan, version=BY_STEPS)).result()

    copying = timedelta(seconds=methods_of(ARTIFACTS)["CopyArtifact"].max_seconds)
    assert recorded.timeouts.keys() == {"begin", "open", "short"}
    assert all(timeout and timeout > copying for timeout in recorded.timeouts.values())


@every_version
async def test_a_mapped_step_is_opened_done_for_each_item_and_closed(
    temporal: TemporalServer, version: int
) -> None:
    recorded = RecordedActivities(list_length=3)
    plan = Plan((PlanStep("a"), PlanStep("m", needs=("a",), map_step="a")))
    async with worker(temporal.address, recorded) as client:
        await (await start(client, plan, version=version)).result()

    assert recorded.done[1] == ("open m", 0)
    assert sorted(recorded.done[2:5]) == [("m", 1), ("m", 2), ("m", 3)]
    assert recorded.done[5] == ("close m", 0)


async def test_a_long_list_went_to_child_workflows(temporal: TemporalServer) -> None:
    length = ITEMS_IN_CHILD + MAX_ITEMS_AT_ONCE
    recorded = RecordedActivities(list_length=length)
    plan = Plan((PlanStep("a"), PlanStep("m", "function", ("a",), short=True, map_step="a")))
    async with worker(temporal.address, recorded) as client:
        handle = await start(client, plan, version=BY_STEPS)
        await handle.result()
        history = await handle.fetch_history()

    items = sorted(item for step, item in recorded.done if step == "m")
    assert items == list(range(1, length + 1))
    assert len(history.events) < 60
    await replay(history)


@every_version
@pytest.mark.parametrize(
    "length", [MAX_ITEMS_AT_ONCE, MAX_ITEMS_AT_ONCE + 1, 201, ITEMS_IN_CHILD + 1]
)
async def test_as_many_elements_are_done_at_once_whatever_the_length_of_the_list(
    temporal: TemporalServer, length: int, version: int
) -> None:
    recorded = RecordedActivities(list_length=length, gathering=MAX_ITEMS_AT_ONCE)
    plan = Plan((PlanStep("a"), PlanStep("gathering", needs=("a",), map_step="a")))
    async with worker(temporal.address, recorded) as client:
        handle = await start(client, plan, version=version)
        await asyncio.wait_for(handle.result(), 100)
        await replay(await handle.fetch_history())

    items = sorted(item for step, item in recorded.done if step == "gathering")
    assert items == list(range(1, length + 1))
    assert recorded.most_in_flight == MAX_ITEMS_AT_ONCE


# The SDK says so where a local activity ends at the moment at which it is cancelled.
@pytest.mark.filterwarnings("ignore:Cannot find activity to cancel")
@every_version
async def test_a_failing_step_cancels_its_neighbours_and_fails_the_run(
    temporal: TemporalServer, version: int
) -> None:
    recorded = RecordedActivities()
    plan = Plan(
        (
            PlanStep("a"),
            PlanStep("broken", needs=("a",)),
            PlanStep("endless", needs=("a",)),
            PlanStep("last", needs=("broken", "endless")),
        )
    )
    async with worker(temporal.address, recorded) as client:
        handle = await start(client, plan, version=version)
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        history = await handle.fetch_history()

    (end,) = recorded.ends
    assert (end.status, end.reason, end.message) == ("failed", "BROKEN", "it broke")
    assert "last" not in {step for step, _ in recorded.done}
    await replay(history)


@every_version
async def test_cancelling_a_run_stops_what_is_in_flight_before_the_run_ends(
    temporal: TemporalServer, version: int
) -> None:
    recorded = RecordedActivities()
    plan = Plan((PlanStep("endless"), PlanStep("last", needs=("endless",))))
    async with worker(temporal.address, recorded) as client:
        handle = await start(client, plan, version=version)
        await asyncio.wait_for(recorded.endless_began.wait(), 50)
        await handle.cancel()
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        history = await handle.fetch_history()

    assert recorded.endless_cancelled.is_set()
    assert recorded.statuses == ["cancelled"]
    await replay(history)


@every_version
async def test_a_step_that_ends_well_in_spite_of_its_cancellation_does_not_undo_it(
    temporal: TemporalServer, version: int
) -> None:
    recorded = RecordedActivities()
    plan = Plan((PlanStep("deaf"), PlanStep("last", needs=("deaf",), map_step="deaf")))
    async with worker(temporal.address, recorded) as client:
        handle = await start(client, plan, version=version)
        await asyncio.wait_for(recorded.deaf_began.wait(), 50)
        await handle.cancel()
        recorded.deaf_may_end.set()
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        history = await handle.fetch_history()

    assert recorded.done == [("deaf", 0)]
    assert recorded.statuses == ["cancelled"]
    await replay(history)


@every_version
@pytest.mark.parametrize("length", [None, 1, MAX_ITEMS_AT_ONCE + 1])
async def test_a_step_that_is_to_be_tried_again_does_not_undo_a_cancellation(
    temporal: TemporalServer, length: int | None, version: int
) -> None:
    recorded = RecordedActivities(list_length=length or 0)
    plan = Plan((PlanStep("stubborn", map_step=None if length is None else "input"),))
    async with worker(temporal.address, recorded) as client:
        handle = await start(client, plan, version=version)
        await asyncio.wait_for(recorded.endless_began.wait(), 50)
        await handle.cancel()
        with pytest.raises(WorkflowFailureError) as ended:
            await handle.result()
        history = await handle.fetch_history()

    assert isinstance(ended.value.cause, CancelledError)
    assert recorded.statuses == ["cancelled"]
    await replay(history)


@every_version
@pytest.mark.parametrize("short", [False, True])
async def test_a_history_can_be_replayed_and_grows_little_with_each_step(
    temporal: TemporalServer, version: int, *, short: bool
) -> None:
    sizes: dict[int, int] = {}
    async with worker(temporal.address, RecordedActivities()) as client:
        for length in (5, 25):
            handle = await start(client, chain(length, short=short), version=version)
            await handle.result()
            history = await handle.fetch_history()
            await replay(history)
            assert not list(examine(history, ["canary"]))
            sizes[length] = sum(event.ByteSize() for event in history.events)

    assert (sizes[25] - sizes[5]) / 20 < 2_048
