"""The table `steps`: rows that a fork takes over from the run that it was forked from.

Conditional on the fork's epoch and status, and locking it first, as in `journal`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from runs.store.events import RUN_LOCK, step_events
from runs.store.step_outcome import TYPES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dataplane.pools import Connection
    from runs.domain.activities import RunRef


@dataclass(frozen=True, slots=True)
class DoneStep:
    """A step, or an element of a mapped one, that is not done again."""

    item: int
    visit: int
    output_path: str
    """Where its output is; empty without one."""


@dataclass(frozen=True, slots=True)
class ReusedStep:
    """The same in the fork."""

    done: DoneStep
    item: int
    output_path: str


async def find_done(
    connection: Connection, run_id: str, step: str, *, mapped: bool
) -> tuple[DoneStep, ...]:
    """Return what of a step is done; of a mapped one its elements.

    Where a mapped step has completed although elements failed, these are among them.
    """
    rows = await connection.fetch(
        """
        SELECT item, visit, output_path
          FROM steps
         WHERE run_id = $1 AND step = $2 AND (item > 0) = $3
           AND (status IN ('completed', 'skipped')
                OR status = 'failed' AND item > 0 AND EXISTS (
                   SELECT FROM steps AS whole
                    WHERE whole.run_id = steps.run_id AND whole.step = steps.step
                      AND whole.item = 0 AND whole.visit = steps.visit
                      AND whole.status = 'completed'))
         ORDER BY item, visit
        """,
        UUID(run_id),
        step,
        mapped,
    )
    return tuple(DoneStep(row["item"], row["visit"], row["output_path"] or "") for row in rows)


async def count_elements(connection: Connection, run_id: str, step: str) -> int | None:
    """Return how many elements a mapped step has, at most of a loop's visits; None before it has
    completed.
    """
    return await connection.fetchval(
        """
        SELECT max(item) FROM steps
         WHERE run_id = $1 AND step = $2
           AND EXISTS (
               SELECT FROM steps AS whole
                WHERE whole.run_id = steps.run_id AND whole.step = steps.step
                  AND whole.item = 0 AND whole.status = 'completed')
        """,
        UUID(run_id),
        step,
    )


async def find_places(connection: Connection, run_id: str, step: str) -> frozenset[tuple[int, int]]:
    """Return item and visit of each row that a step has."""
    rows = await connection.fetch(
        "SELECT item, visit FROM steps WHERE run_id = $1 AND step = $2", UUID(run_id), step
    )
    return frozenset((row["item"], row["visit"]) for row in rows)


async def insert(
    connection: Connection, run: RunRef, source_id: str, step: str, reused: Sequence[ReusedStep]
) -> bool:
    """Record steps as taken over, each with its event; those that have a row stay as they are.

    They cost nothing here. Returns False if the run is paused or closed.
    """
    return await connection.fetchval(
        _INSERT,
        UUID(run.run_id),
        run.epoch,
        UUID(source_id),
        step,
        json.dumps(
            [
                {
                    "source_item": each.done.item,
                    "visit": each.done.visit,
                    "item": each.item,
                    "path": each.output_path or None,
                }
                for each in reused
            ]
        ),
    )


_OWN = {"output_path", "token_usage", "cost_micro_usd"}
_COPIED = ", ".join([*(name for name in TYPES if name not in _OWN), "error", "error_message"])

_INSERT = f"""
WITH {RUN_LOCK},
-- the fork, unless it is paused, has a final status or another epoch
run AS (
    SELECT id, epoch FROM runs, run_lock
     WHERE id = $1 AND epoch = $2 AND status IN ('pending', 'running')
       FOR NO KEY UPDATE OF runs
),
changed AS (
    INSERT INTO steps (run_id, step, item, visit, epoch, reused, started_at, completed_at,
                       output_path, {_COPIED})
    SELECT run.id, $4, given.item, given.visit, run.epoch, true, now(), now(), given.path, source.*
      FROM run,
           ROWS FROM (
               jsonb_to_recordset($5::jsonb)
                   AS (source_item int, visit int, item int, path text)
           ) WITH ORDINALITY AS given (source_item, visit, item, path, place)
     CROSS JOIN LATERAL (
           SELECT {_COPIED} FROM steps
            WHERE run_id = $3 AND step = $4 AND item = given.source_item
              AND visit = given.visit
     ) AS source
     ORDER BY given.place
    ON CONFLICT (run_id, step, item, visit) DO NOTHING
    RETURNING *
),
{step_events("changed")}
SELECT EXISTS (SELECT FROM run)
"""
