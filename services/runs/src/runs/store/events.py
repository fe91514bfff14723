"""The table `run_events`, and the counter `runs.last_seq` that numbers it.

An event takes its number by an UPDATE of its run's row in its own transaction. The row stays
locked until that transaction ends, so numbers become visible in their order and without a gap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from runs.domain.events import RunEvent
from runs.domain.failures import RunClosed
from runs.store import rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    import asyncpg

    from dataplane.pools import Connection

# Written as the index `runs_open` has it.
OPEN = "status IN ('pending', 'running', 'paused')"

RUN_EVENT = """
    INSERT INTO run_events (run_id, seq, kind, payload, created_at)
    SELECT id, last_seq, 'run',
           jsonb_strip_nulls(to_jsonb(moved)
               - '{config,prompt_versions,request_id,request_digest,checked_at}'::text[]),
           clock_timestamp()
      FROM moved
"""
"""The event of a run that a WITH clause `moved` has updated, `last_seq` included."""

_STEP_EVENT = """
    INSERT INTO run_events (run_id, seq, kind, payload, created_at)
    SELECT moved.id, moved.last_seq, 'step', jsonb_strip_nulls(to_jsonb(steps)), clock_timestamp()
      FROM moved, steps
     WHERE steps.id = $2 AND steps.run_id = moved.id
    RETURNING seq
"""


@dataclass(frozen=True, slots=True)
class Progress:
    """What a piece of work adds to its run."""

    current_step: str | None = None
    """The step that begins; None when none does."""
    input_tokens: int = 0
    output_tokens: int = 0
    cost_micro_usd: int = 0
    completed_steps: int = 0


_NOTHING = Progress()


class EventStore:
    async def append_run(self, connection: Connection, run_id: str) -> int:
        """Record the run as its row is now; return the event's number."""
        number = await connection.fetchval(
            f"""
            WITH moved AS (
                UPDATE runs SET last_seq = last_seq + 1, updated_at = now()
                 WHERE id = $1
                RETURNING *
            )
            {RUN_EVENT}
            RETURNING seq
            """,
            UUID(run_id),
        )
        return int(number)

    async def append_step(
        self,
        connection: Connection,
        run_id: str,
        step_row_id: int,
        progress: Progress = _NOTHING,
    ) -> int:
        """Record a piece of work as its row is now, and add `progress` to its run.

        A run that was stuck is so no longer. Returns the event's number. Call it after the
        statement that changes the row, in the same transaction, and keep that transaction short:
        it holds the run's row. Raises RunClosed if the run has got its final status meanwhile: then
        the change must not be committed.
        """
        number = await connection.fetchval(
            f"""
            WITH moved AS (
                UPDATE runs
                   SET last_seq = last_seq + 1, updated_at = now(), stuck_reason = NULL,
                       current_step = coalesce($3, current_step),
                       input_tokens = input_tokens + $4,
                       output_tokens = output_tokens + $5,
                       cost_micro_usd = cost_micro_usd + $6,
                       completed_steps = completed_steps + $7
                 WHERE id = $1 AND {OPEN}
                RETURNING id, last_seq
            )
            {_STEP_EVENT}
            """,
            UUID(run_id),
            step_row_id,
            progress.current_step,
            progress.input_tokens,
            progress.output_tokens,
            progress.cost_micro_usd,
            progress.completed_steps,
        )
        if number is None:
            raise RunClosed
        return int(number)

    async def after(
        self, connection: Connection, sequences: Mapping[str, int], limit: int
    ) -> tuple[RunEvent, ...]:
        """Return each run's next events, at most `limit` a run, in order.

        `sequences` maps runs to the number of the event that is known already.
        """
        found = await connection.fetch(
            """
            SELECT next.run_id, next.seq, next.kind, next.payload, next.created_at
              FROM unnest($1::uuid[], $2::bigint[]) AS watched (run_id, seq)
             CROSS JOIN LATERAL (
                   SELECT run_id, seq, kind, payload, created_at
                     FROM run_events
                    WHERE run_events.run_id = watched.run_id AND run_events.seq > watched.seq
                    ORDER BY seq
                    LIMIT $3
             ) AS next
             ORDER BY next.run_id, next.seq
            """,
            [UUID(run_id) for run_id in sequences],
            list(sequences.values()),
            limit,
        )
        return tuple(map(_event, found))


def _event(row: asyncpg.Record) -> RunEvent:
    payload = rows.document(row["payload"])
    return RunEvent(
        run_id=str(row["run_id"]),
        sequence=row["seq"],
        create_time=row["created_at"],
        subject=rows.run(payload) if row["kind"] == "run" else rows.run_step(payload),
    )
