"""The table `run_events`, and the counter `runs.last_seq` that numbers it.

An event takes its number by an UPDATE of its run's row in its own transaction. The row stays
locked until that transaction ends, so numbers become visible in their order and without a gap.
A move is one statement, so that nobody waits for this lock while a client thinks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from runs.domain.events import RunEvent
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


def _step_event(current_step: str) -> str:
    return f"""
    moved AS (
        UPDATE runs
           SET last_seq = last_seq + 1, updated_at = now(), stuck_reason = NULL,
               current_step = {current_step},
               input_tokens = input_tokens
                   + coalesce((piece.token_usage ->> 'input_tokens')::bigint, 0),
               output_tokens = output_tokens
                   + coalesce((piece.token_usage ->> 'output_tokens')::bigint, 0),
               cost_micro_usd = runs.cost_micro_usd + piece.cost_micro_usd,
               completed_steps = completed_steps
                   + (piece.status IN ('completed', 'skipped'))::int
          FROM piece
         WHERE runs.id = piece.run_id
        RETURNING runs.id, runs.last_seq
    ), event AS (
        INSERT INTO run_events (run_id, seq, kind, payload, created_at)
        SELECT moved.id, moved.last_seq, 'step', jsonb_strip_nulls(to_jsonb(piece)),
               clock_timestamp()
          FROM moved, piece
    )
"""


STEP_BEGUN = _step_event("piece.step")
"""The event of the row of `steps` that a WITH clause `piece` has changed, and its run's new totals.

A row has tokens and costs only once it has ended. The clause must have locked the run before it
changed the row: all moves take their locks in this order, and see whether the run is still open.
"""

STEP_ENDED = _step_event("current_step")
"""The same, where nothing has begun."""


class EventStore:
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
