"""The table `run_events`, and the counter `runs.last_seq` that numbers it.

An event takes its number by an UPDATE of its run's row in its own transaction. The row stays
locked until that transaction ends, so numbers become visible in their order and without a gap.
A transition is one statement, so that nobody waits for this lock while a client thinks.

Whoever locks a run's row before updating it takes an advisory lock first (RUN_LOCK, `lock_run`).
Without it PostgreSQL 18 deadlocks: two such transactions and a third that shares the row for its
foreign key, as every file and every call of the run does, may come to wait for each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from runs.domain.events import RunEvent
from runs.store import rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import asyncpg

    from dataplane.pools import Connection

RUN_LOCK = """
    -- waits until no other transaction works on the run
    run_lock AS MATERIALIZED (
        SELECT pg_advisory_xact_lock(hashtextextended($1::uuid::text, 0)) AS taken
    )
"""
"""The CTE `run_lock` of the run $1; whatever locks the run's row has to read from it."""

# Written as the index `runs_open` has it.
OPEN = "status IN ('pending', 'running', 'paused')"
# As `runs_under_way` has it, and `runs_queued`.
UNDER_WAY = "status IN ('pending', 'running') AND NOT held AND NOT queued"
QUEUED = "queued AND status IN ('pending', 'running')"
# As `runs_working` has it.
WORKING = f"{UNDER_WAY} AND NOT in_question"


def run_event(updated: str) -> str:
    """Return the INSERT of a run's event.

    `updated` names the CTE that has updated the run, `last_seq` included, and returns all columns.
    """
    return f"""
    INSERT INTO run_events (run_id, seq, kind, payload, created_at)
    SELECT id, last_seq, 'run', {run_payload(f"to_jsonb({updated})")}, clock_timestamp()
      FROM {updated}
    """


def run_payload(row: str) -> str:
    """Return the expression for what a run's event holds, of one for its row as JSON."""
    left_out = (
        "'{config,prompt_versions,request_id,request_digest,checked_at,retry_request_id,"
        "task_queue,in_question}'::text[]"
    )
    return f"jsonb_strip_nulls(({row}) - {left_out})"


def step_events(changed: str) -> str:
    """Return the CTEs that add changed steps to their run's totals, and insert an event for each.

    `changed` names the CTE that has locked the run $1, then changed rows of its steps, and returns
    all columns. All transitions lock in this order, and see whether the run is still open. A row
    has tokens and costs only once it has ended.
    """
    return f"""
    -- what the changed steps add to the run
    sums AS (
        SELECT count(*) AS events,
               sum(coalesce((token_usage ->> 'input_tokens')::bigint, 0))::bigint AS input_tokens,
               sum(coalesce((token_usage ->> 'output_tokens')::bigint, 0))::bigint AS output_tokens,
               sum(cost_micro_usd)::bigint AS cost_micro_usd,
               count(*) FILTER (WHERE status IN ('completed', 'skipped')) AS completed_steps
          FROM {changed}
    ),
    -- the run's totals, and the numbers of the events
    numbered AS (
        UPDATE runs
           SET last_seq = last_seq + sums.events, updated_at = now(), stuck_reason = NULL,
               in_question = false,
               input_tokens = runs.input_tokens + sums.input_tokens,
               output_tokens = runs.output_tokens + sums.output_tokens,
               cost_micro_usd = runs.cost_micro_usd + sums.cost_micro_usd,
               completed_steps = runs.completed_steps + sums.completed_steps
          FROM sums
         WHERE runs.id = $1 AND sums.events > 0
        RETURNING runs.id, runs.last_seq
    ),
    -- one event for each changed step
    event AS (
        INSERT INTO run_events (run_id, seq, kind, payload, created_at)
        SELECT numbered.id,
               numbered.last_seq - count(*) OVER () + row_number() OVER (ORDER BY {changed}.id),
               'step', jsonb_strip_nulls(to_jsonb({changed}) - 'list_sizes'), clock_timestamp()
          FROM numbered, {changed}
    )
    """


async def lock_run(connection: Connection, run_id: str) -> None:
    """Wait, in a transaction, until no other one works on the run."""
    await connection.execute(f"WITH {RUN_LOCK} SELECT taken FROM run_lock", UUID(run_id))


async def after(
    connection: Connection, sequences: Mapping[str, int], limit: int
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


async def of_types(
    connection: Connection, run_id: str, after: int, types: Sequence[str], limit: int
) -> tuple[tuple[RunEvent, ...], int]:
    """Return a run's next events of some types, at most `limit`, and the number of its last event.

    Types are those of webhooks, such as `step.failed`.
    """
    found = await connection.fetch(
        """
        SELECT runs.last_seq, next.*
          FROM runs
          LEFT JOIN LATERAL (
               SELECT run_id, seq, kind, payload, created_at
                 FROM run_events
                WHERE run_events.run_id = runs.id AND run_events.seq > $2
                  AND kind = ANY($3) AND kind || '.' || (payload ->> 'status') = ANY($4)
                ORDER BY seq
                LIMIT $5
          ) AS next ON true
         WHERE runs.id = $1
         ORDER BY next.seq
        """,
        UUID(run_id),
        after,
        list({one.partition(".")[0] for one in types}),
        list(types),
        limit,
    )
    return tuple(_event(row) for row in found if row["seq"] is not None), found[0]["last_seq"]


def _event(row: asyncpg.Record) -> RunEvent:
    payload = rows.document(row["payload"])
    return RunEvent(
        run_id=str(row["run_id"]),
        sequence=row["seq"],
        create_time=row["created_at"],
        subject=rows.run(payload) if row["kind"] == "run" else rows.run_step(payload),
    )
