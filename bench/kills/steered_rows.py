"""What is found of steered runs in their tenant's database: rows, events, totals."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import asyncpg

    Database: TypeAlias = asyncpg.Connection[asyncpg.Record]

_SETTLED_SECONDS = 180.0
_CHANGES = """
    WITH changes AS (
        SELECT run_id, seq, created_at, payload ->> 'status' AS status,
               lag(payload ->> 'status') OVER run AS before,
               lead(created_at) OVER run AS until
          FROM run_events WHERE kind = 'run'
        WINDOW run AS (PARTITION BY run_id ORDER BY seq)
    )
"""
_OF_CHANGES = {
    "runs that were completed another number of times than once": """
        SELECT runs.id, count(changes.seq)
          FROM runs
          LEFT JOIN changes ON run_id = id AND changes.status = 'completed'
           AND before IS DISTINCT FROM 'completed'
         WHERE runs.status = 'completed'
         GROUP BY runs.id HAVING count(changes.seq) <> 1
    """,
    "attempts that began while their run was paused": """
        SELECT run_id, steps.step, step_attempts.attempt, step_attempts.started_at
          FROM changes JOIN steps USING (run_id) JOIN step_attempts ON step_id = steps.id
         WHERE changes.status = 'paused' AND step_attempts.started_at > changes.created_at
           AND step_attempts.started_at < coalesce(until, 'infinity')
    """,
}
"""Queries that come after `_CHANGES`."""

_QUERIES = {
    "runs that are not over": """
        SELECT id, status, stop FROM runs WHERE status NOT IN ('completed', 'cancelled')
    """,
    "runs whose events are not 1 to n": """
        SELECT runs.id, last_seq, count(seq), min(seq), max(seq)
          FROM runs LEFT JOIN run_events ON run_id = runs.id
         GROUP BY runs.id
        HAVING (count(seq), min(seq), max(seq)) IS DISTINCT FROM (last_seq, 1, last_seq)
    """,
    "steps of completed runs that are not done": """
        SELECT run_id, step, item, steps.status FROM steps JOIN runs ON runs.id = run_id
         WHERE runs.status = 'completed' AND steps.status NOT IN ('completed', 'skipped')
    """,
    "steps with more completed attempts than one": """
        SELECT run_id, step, item, count(*)
          FROM steps JOIN step_attempts ON id = step_id AND step_attempts.status = 'completed'
         GROUP BY id HAVING count(*) > 1
    """,
    "runs that count other steps than they have": """
        SELECT runs.id, completed_steps, count(steps.id)
          FROM runs LEFT JOIN steps
            ON run_id = runs.id AND steps.status IN ('completed', 'skipped')
         GROUP BY runs.id HAVING completed_steps <> count(steps.id)
    """,
    "messages left in the outbox": "SELECT run_id, kind FROM outbox",
}
_TOTALS = """
    SELECT runs.id, runs.status, runs.cost_micro_usd, coalesce(sum(llm_calls.cost_micro_usd), 0),
           runs.calls_open
      FROM runs LEFT JOIN llm_calls ON run_id = runs.id
     GROUP BY runs.id
    HAVING runs.cost_micro_usd <> coalesce(sum(llm_calls.cost_micro_usd), 0) OR runs.calls_open
"""


async def find_faults(database: Database) -> dict[str, list[object]]:
    """Return what must not be in a tenant's database, by what it is.

    The runs' totals are given the time to be corrected.
    """
    until = time.monotonic() + _SETTLED_SECONDS
    wrong = await database.fetch(_TOTALS)
    while wrong and time.monotonic() < until:
        await asyncio.sleep(1)  # what corrects them tells nobody
        wrong = await database.fetch(_TOTALS)
    faults: dict[str, list[object]] = {
        "runs whose totals are not the sums of the ledger": [*map(tuple, wrong)]
    }
    queries = _QUERIES | {name: _CHANGES + query for name, query in _OF_CHANGES.items()}
    for name, query in queries.items():
        faults[name] = [tuple(row) for row in await database.fetch(query)]
    return faults
