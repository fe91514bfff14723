"""The table `runs`: a run's changes of status. Each leaves an event.

Each is conditional on the run's status and, where a workflow makes it, on the run's epoch: a
workflow of an earlier epoch, or one that comes too late, changes nothing.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from runs.domain.runs import RunStatus
from runs.store import rows
from runs.store.events import OPEN, lock_run, run_event
from runs.store.queued_runs import WAITS, checked_at, turn
from runs.store.runs import COLUMNS

if TYPE_CHECKING:
    from dataplane.pools import Connection
    from runs.domain.generation import RunUsage
    from runs.domain.runs import Failure, OutputFile, Run

CALLS_MODELS = "prompt_versions <> '{}'::jsonb AND started_at IS NOT NULL"
CHECKED_SOON = timedelta(seconds=1)
CHECKED_ONCE = timedelta(seconds=16)
"""When everything is known, so that once is enough."""


async def release(
    connection: Connection, run_id: str, file: OutputFile, task_queue: str, most: int
) -> Run | None:
    """Have a held run started with the input that was uploaded; None if it is not held.

    It waits for its turn where `most` of the tenant's runs are under way on `task_queue`, which is
    its pipeline's.
    """
    row = await connection.fetchrow(
        f"""
        WITH {turn("$6", "$7")},
        updated AS (
            UPDATE runs
               SET held = false, task_queue = $6, queued = {WAITS},
                   checked_at = {checked_at(WAITS)},
                   updated_at = now(), last_seq = last_seq + 1, input_path = $2,
                   input_digest = $3, input_summary = $4, input_metrics = $5::jsonb
             WHERE id = $1 AND held AND status = 'pending'
            RETURNING *
        ),
        event AS ({run_event("updated")})
        SELECT {COLUMNS} FROM updated
        """,
        UUID(run_id),
        *_input(file),
        task_queue,
        most,
    )
    return None if row is None else rows.run(row)


async def finish(
    connection: Connection,
    run_id: str,
    epoch: int,
    status: RunStatus,
    error: Failure | None = None,
    usage: RunUsage | None = None,
) -> Run | None:
    """Give an open run a final status; the steps that it leaves unfinished are cancelled.

    What is left of its outbox is removed. A run that calls models gets a usage check, since its
    calls may end after it. `usage` is what its calls add up to by now; without it, calls are taken
    to be in flight. In a transaction. Returns None if the run has a final status already, or
    another epoch.
    """
    # No step begins or ends from now on; the next statement sees those that have.
    await lock_run(connection, run_id)
    await connection.execute("SELECT FROM runs WHERE id = $1 FOR NO KEY UPDATE", UUID(run_id))
    await connection.execute(_CLOSE_STEPS, UUID(run_id), epoch)
    row = await connection.fetchrow(
        _END,
        UUID(run_id),
        epoch,
        status.value,
        None if error is None else rows.failure_json(error),
        *_usage(status, usage),
        CHECKED_SOON,
        CHECKED_ONCE,
    )
    return None if row is None else rows.run(row)


def _input(file: OutputFile) -> tuple[str, str, str, str]:
    """Return the values of input_path, input_digest, input_summary and input_metrics."""
    return file.output_path, file.output_digest, file.summary, json.dumps(dict(file.metrics))


def _usage(
    status: RunStatus, usage: RunUsage | None
) -> tuple[int | None, int | None, int | None, bool]:
    """Return the values of input_tokens, output_tokens, cost_micro_usd and calls_open."""
    if usage is None:
        return None, None, None, status is not RunStatus.COMPLETED
    return usage.input_tokens, usage.output_tokens, usage.cost_micro_usd, usage.calls_open


_CLOSE_STEPS = f"""
-- steps that are still running, each with its event: they have not failed, though an attempt may
WITH closed AS (
    UPDATE steps
       SET status = 'cancelled', completed_at = now(), error = NULL, error_message = NULL
      FROM runs
     WHERE runs.id = $1 AND runs.epoch = $2 AND runs.{OPEN}
       AND steps.run_id = runs.id AND steps.status IN ('running', 'waiting')
    RETURNING steps.*
),
-- what they have asked people
questions AS (
    UPDATE approvals SET state = 'closed', ended_at = now()
      FROM closed
     WHERE approvals.run_id = closed.run_id AND approvals.step = closed.step
       AND approvals.visit = closed.visit AND approvals.state = 'open'
),
-- their attempts
attempts AS (
    UPDATE step_attempts
       SET status = 'cancelled', completed_at = now()
      FROM closed
     WHERE step_attempts.step_id = closed.id AND step_attempts.status = 'running'
),
-- the numbers of their events
numbered AS (
    UPDATE runs SET last_seq = last_seq + (SELECT count(*) FROM closed)
     WHERE id = $1 AND EXISTS (SELECT FROM closed)
    RETURNING last_seq
)
INSERT INTO run_events (run_id, seq, kind, payload, created_at)
SELECT run_id,
       numbered.last_seq - count(*) OVER () + row_number() OVER (ORDER BY closed.id),
       'step', jsonb_strip_nulls(to_jsonb(closed) - 'list_sizes'), clock_timestamp()
  FROM closed, numbered
"""

_END = f"""
-- the run, unless it has a final status or another epoch
WITH updated AS (
    UPDATE runs
       SET status = $3, error = $4::jsonb, ended_at = now(), updated_at = now(),
           stuck_reason = NULL, stop = NULL, held = false, queued = false, checked_at = NULL,
           last_seq = last_seq + 1,
           input_tokens = coalesce($5, input_tokens),
           output_tokens = coalesce($6, output_tokens),
           cost_micro_usd = coalesce($7, cost_micro_usd),
           calls_open = $8 AND {CALLS_MODELS}
     WHERE id = $1 AND epoch = $2 AND {OPEN}
    RETURNING *
),
-- nothing is to be delivered to its workflow any more
delivered AS (
    DELETE FROM outbox USING updated WHERE outbox.run_id = updated.id
),
-- whether its calls have cost more by then
usage_check AS (
    INSERT INTO usage_checks (run_id, due_at)
    SELECT id, now() + CASE WHEN calls_open THEN $9::interval ELSE $10::interval END
      FROM updated
     WHERE {CALLS_MODELS}
),
-- what watches and webhooks are sent
event AS ({run_event("updated")})
SELECT {COLUMNS} FROM updated
"""
