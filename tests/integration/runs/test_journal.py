"""Transitions of a run and its steps: which take effect, and their events."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.support.runs_service import INPUT_FILE, RunsService

from runs.domain.activities import StepRef
from runs.domain.generation import CallUsage, TokenUsage
from runs.domain.runs import Run, RunStatus, RunTotals
from runs.domain.steps import RunStep, StepStatus
from runs.domain.transitions import Advanced, StepOutcome, Transitions
from runs.store import events as event_store

if TYPE_CHECKING:
    import asyncpg


USAGE = CallUsage("openai/gpt-5", "rule", TokenUsage(5, 7, 0, 0, 0), 11)
DONE, PAID = StepOutcome(INPUT_FILE), StepOutcome(INPUT_FILE, USAGE)


async def test_a_whole_run_in_one_statement_leaves_the_events_that_a_reader_expects(
    service: RunsService, database: asyncpg.Connection
) -> None:
    ref = await created(service)
    steps = [replace(ref, step=name) for name in ("b", "a", "c")]
    transitions = Transitions(
        input=INPUT_FILE,
        whole=((steps[0], DONE), (steps[1], StepOutcome()), (steps[2], PAID)),
        completes_run=True,
    )
    advanced = await service.journal.advance(ref.run, transitions)

    assert advanced == Advanced(RunStatus.COMPLETED, (), (True, True, True), ())
    async with service.tenants.connection("acme") as connection:
        events = await event_store.after(connection, {ref.run_id: 0}, 100)
    pending, begun, *ended, last = [event.subject for event in events]
    assert [event.sequence for event in events] == [1, 2, 3, 4, 5, 6]
    run = await service.find(ref.run_id)
    assert isinstance(pending, Run)
    assert begun == replace(
        pending,
        status=RunStatus.RUNNING,
        input=INPUT_FILE,
        start_time=run.start_time,
        last_sequence=2,
    )
    assert [(step.step, step.status) for step in ended if isinstance(step, RunStep)] == [
        ("b", StepStatus.COMPLETED),
        ("a", StepStatus.SKIPPED),
        ("c", StepStatus.COMPLETED),
    ]
    assert last == run
    assert run.totals == RunTotals(5, 7, 11, 3)
    assert (run.current_step, run.input, run.start_time) == ("c", INPUT_FILE, run.end_time)
    assert await database.fetchval("SELECT count(*) FROM outbox") == 0
    attempts = await database.fetch("SELECT attempt, status FROM step_attempts ORDER BY step_id")
    assert [tuple(row) for row in attempts] == [(1, "completed"), (1, "skipped"), (1, "completed")]


async def test_a_chain_ends_one_step_and_begins_the_next_at_once(
    service: RunsService, database: asyncpg.Connection
) -> None:
    ref = await created(service)
    one, two = replace(ref, step="one"), replace(ref, step="two")
    first = await service.journal.advance(ref.run, Transitions(input=INPUT_FILE, begun=(one,)))
    assert first.run_status is RunStatus.RUNNING
    (attempt,) = first.begun
    assert attempt is not None
    second = await service.journal.advance(
        ref.run, Transitions(ended=((one, attempt, PAID),), begun=(two,))
    )
    assert second.ended == (True,)
    (attempt,) = second.begun
    assert attempt is not None
    last = await service.journal.advance(
        ref.run, Transitions(ended=((two, attempt, DONE),), completes_run=True)
    )

    assert last == Advanced(RunStatus.COMPLETED, (True,), (), ())
    assert await history(database) == [
        "1 pending",
        "2 running",
        "3 one running",
        "4 one completed",
        "5 two running",
        "6 two completed",
        "7 completed",
    ]
    ended = await service.journal.ended(ref.run, [one, two, ref])
    assert ended.done == {
        one: INPUT_FILE,
        two: INPUT_FILE,
    }


async def test_a_run_is_not_completed_by_an_attempt_that_was_replaced(
    service: RunsService, database: asyncpg.Connection
) -> None:
    ref = await running(service)
    given_up = await service.journal.begin(ref)
    assert given_up is not None
    newest = await service.journal.begin(ref)
    assert newest is not None
    assert (newest.attempt, newest.lost_before) == (2, 1)

    transitions = Transitions(ended=((ref, given_up, DONE),), completes_run=True)
    late = await service.journal.advance(ref.run, transitions)
    assert late == Advanced(RunStatus.RUNNING, (False,), (), ())
    transitions = Transitions(ended=((ref, newest, DONE),), completes_run=True)
    assert (await service.journal.advance(ref.run, transitions)).run_status is RunStatus.COMPLETED
    again = await service.journal.advance(ref.run, transitions)
    assert again == Advanced(RunStatus.COMPLETED, (False,), (), ())
    assert (await history(database))[-2:] == ["5 copy completed", "6 completed"]


async def test_a_workflow_of_an_earlier_epoch_begins_and_completes_nothing(
    service: RunsService, database: asyncpg.Connection
) -> None:
    ref = await created(service)
    await database.execute("UPDATE runs SET epoch = 2")
    whole = ((replace(ref, step="whole"), DONE),)
    transitions = Transitions(input=INPUT_FILE, whole=whole, begun=(ref,), completes_run=True)

    assert await service.journal.advance(ref.run, transitions) == Advanced(
        None, (), (False,), (None,)
    )
    assert await history(database) == ["1 pending"]
    assert await database.fetchval("SELECT count(*) FROM steps") == 0


async def test_no_step_begins_before_its_run_does(
    service: RunsService, database: asyncpg.Connection
) -> None:
    ref = await created(service)
    whole = ((replace(ref, step="whole"), DONE),)
    advanced = await service.journal.advance(ref.run, Transitions(whole=whole, begun=(ref,)))

    assert advanced == Advanced(RunStatus.PENDING, (), (False,), (None,))
    assert await history(database) == ["1 pending"]


async def test_a_move_that_the_database_refuses_fails_no_other(
    service: RunsService, database: asyncpg.Connection
) -> None:
    ref = await running(service)
    refused = StepOutcome(replace(INPUT_FILE, summary="x" * 257))

    async def whole(item: int) -> bool:
        outcome = refused if item == 7 else DONE
        return await service.journal.complete_at_once(replace(ref, item=item), outcome)

    results = await asyncio.gather(*map(whole, range(1, 20)), return_exceptions=True)

    assert [item for item, result in enumerate(results, 1) if result is not True] == [7]
    assert await database.fetchval("SELECT completed_steps FROM runs") == 18
    assert await database.fetchval("SELECT last_seq FROM runs") == 20


async def test_moves_of_one_step_are_made_one_after_another(
    service: RunsService, database: asyncpg.Connection
) -> None:
    ref = await running(service)
    attempts = await asyncio.gather(*(service.journal.begin(ref) for _ in range(5)))

    assert [attempt.attempt for attempt in attempts if attempt is not None] == [1, 2, 3, 4, 5]
    assert [attempt.lost_before for attempt in attempts if attempt is not None] == [0, 1, 2, 3, 4]
    assert len(await history(database)) == 2 + 5


async def test_a_short_step_takes_the_place_of_an_attempt_that_was_lost(
    service: RunsService, database: asyncpg.Connection
) -> None:
    ref = await running(service)
    await service.journal.begin(ref)
    assert await service.journal.complete_at_once(ref, DONE)

    attempts = await database.fetch("SELECT attempt, status, reason FROM step_attempts ORDER BY 1")
    assert [tuple(row) for row in attempts] == [(1, "failed", "LOST"), (2, "completed", None)]


async def created(service: RunsService) -> StepRef:
    await service.pipeline()
    return StepRef("acme", (await service.run()).run_id, 1, "copy")


async def running(service: RunsService) -> StepRef:
    ref = await created(service)
    await service.begin(ref.run_id)
    return ref


async def history(database: asyncpg.Connection) -> list[str]:
    """Return the events of the only run, each as its number, its step and the status."""
    rows = await database.fetch(
        """
        SELECT concat_ws(' ', seq, payload ->> 'step', payload ->> 'status') AS event
          FROM run_events
         ORDER BY seq
        """
    )
    return [row["event"] for row in rows]
