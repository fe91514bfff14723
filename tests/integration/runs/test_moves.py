"""Moves of many pieces of work of one run, at the same time."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.integration.runs.house import INPUT_FILE

from runs.domain.generation import Spent, Usage
from runs.domain.work import Work
from runs.store.outcomes import Outcome
from runs.store.steps import StepStore

if TYPE_CHECKING:
    import asyncpg
    from tests.integration.runs.house import House


async def test_pieces_of_work_that_end_at_once_leave_numbers_without_a_gap(
    house: House, database: asyncpg.Connection
) -> None:
    await house.pipeline()
    run = await house.run()
    await house.begin(run.run_id)
    work, steps = Work("acme", run.run_id, 1, "copy"), StepStore()
    spent = Spent("openai/gpt-5", "rule", Usage(5, 7, 0, 0, 0), 11)
    outcome = Outcome(INPUT_FILE, spent)

    async def long(item: int) -> None:
        piece = replace(work, item=item)
        async with house.tenants.connection("acme") as connection:
            attempt = await steps.begin(connection, piece)
        assert attempt is not None
        async with house.tenants.connection("acme") as connection:
            assert await steps.complete(connection, piece, attempt, outcome)

    async def short(item: int) -> None:
        async with house.tenants.connection("acme") as connection:
            assert await steps.complete_at_once(
                connection, replace(work, item=item), Outcome(INPUT_FILE)
            )

    await asyncio.gather(*map(long, range(1, 26)), *map(short, range(26, 51)))

    numbers = await database.fetch("SELECT seq FROM run_events ORDER BY seq")
    assert [row["seq"] for row in numbers] == list(range(1, 2 + 50 + 25 + 1))
    totals = await database.fetchrow(
        "SELECT completed_steps, input_tokens, output_tokens, cost_micro_usd FROM runs"
    )
    assert tuple(totals or ()) == (50, 125, 175, 275)
