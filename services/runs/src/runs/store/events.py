"""The table `run_events`, and the counter `runs.last_seq` that numbers it.

An event takes its number by an UPDATE of its run's row in its own transaction. The row stays
locked until that transaction ends, so numbers become visible in their order and without a gap.
A move is one statement, so that nobody waits for this lock while a client thinks.

Whoever locks a run's row before he updates it takes its turn first (TURN, `take_turn`). Without it
PostgreSQL 18 deadlocks: two such transactions and a third that shares the row for its foreign key,
as every file and every call of the run does, may come to wait for each other.
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

TURN = """
    turn AS MATERIALIZED (
        SELECT pg_advisory_xact_lock(hashtextextended($1::uuid::text, 0)) AS taken
    )
"""
"""Waits until no other transaction is at the run $1; what locks its row has to read from it."""

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


def _step_events(current_step: str) -> str:
    return f"""
    fresh AS (
        SELECT count(*) AS events,
               sum(coalesce((token_usage ->> 'input_tokens')::bigint, 0))::bigint AS input_tokens,
               sum(coalesce((token_usage ->> 'output_tokens')::bigint, 0))::bigint AS output_tokens,
               sum(cost_micro_usd)::bigint AS cost_micro_usd,
               count(*) FILTER (WHERE status IN ('completed', 'skipped')) AS completed_steps,
               (array_agg(step ORDER BY id DESC))[1] AS step
          FROM piece
    ), moved AS (
        UPDATE runs
           SET last_seq = last_seq + fresh.events, updated_at = now(), stuck_reason = NULL,
               current_step = {current_step},
               input_tokens = runs.input_tokens + fresh.input_tokens,
               output_tokens = runs.output_tokens + fresh.output_tokens,
               cost_micro_usd = runs.cost_micro_usd + fresh.cost_micro_usd,
               completed_steps = runs.completed_steps + fresh.completed_steps
          FROM fresh
         WHERE runs.id = $1 AND fresh.events > 0
        RETURNING runs.id, runs.last_seq
    ), event AS (
        INSERT INTO run_events (run_id, seq, kind, payload, created_at)
        SELECT moved.id,
               moved.last_seq - count(*) OVER () + row_number() OVER (ORDER BY piece.id),
               'step', jsonb_strip_nulls(to_jsonb(piece)), clock_timestamp()
          FROM moved, piece
    )
"""


STEPS_BEGUN = _step_events("fresh.step")
"""The events of the rows of `steps` that a WITH clause `piece` has changed, and the new totals of
their run, which is $1.

A row has tokens and costs only once it has ended. The clause must have locked the run before it
changed the rows: all moves take their locks in this order, and see whether the run is still open.
"""

STEPS_ENDED = _step_events("current_step")
"""The same, where nothing has begun."""


async def take_turn(connection: Connection, run_id: str) -> None:
    """Wait, in a transaction, until no other one is at the run."""
    await connection.execute(f"WITH {TURN} SELECT taken FROM turn", UUID(run_id))


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
