"""The tables `steps` and `step_attempts`: attempts that fail.

Conditional on the attempt and on the run's epoch and status; they lock the run first, as `journal`
does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from runs.domain.runs import Failure
from runs.store import rows
from runs.store.events import OPEN, RUN_LOCK, step_events
from runs.store.step_outcome import usage_values

if TYPE_CHECKING:
    from dataplane.pools import Connection
    from runs.domain.activities import StepRef
    from runs.domain.failures import StepFailed
    from runs.domain.generation import CallUsage
    from runs.domain.transitions import StepAttempt


async def insert(
    connection: Connection,
    ref: StepRef,
    attempt: StepAttempt,
    failure: StepFailed,
    usage: CallUsage | None = None,
    *,
    final: bool,
) -> None:
    """Record that an attempt failed, and when it was the last (`final`), that the step did.

    `usage` is what the step's model call has used by then. Nothing changes if another attempt has
    replaced this one, or the run is closed.
    """
    error = Failure(
        failure.reason, failure.message, ref.step, failure.error_path, ref.item, ref.visit
    )
    await connection.execute(
        _FAIL,
        *(UUID(ref.run_id), attempt.row_id, attempt.attempt),
        *(failure.reason, failure.message),
        *(rows.failure_json(error), failure.error_path or None, final),
        *usage_values(usage),
        ref.epoch,
    )


_FAIL = f"""
WITH {RUN_LOCK},
-- the run, unless it has a final status or another epoch
run AS (
    SELECT id FROM runs, run_lock
     WHERE id = $1 AND epoch = $13 AND {OPEN} FOR NO KEY UPDATE OF runs
),
-- the row, if this attempt is still the one that is made
changed AS (
    UPDATE steps
       SET status = CASE WHEN $8 THEN 'failed' ELSE status END,
           completed_at = CASE WHEN $8 THEN now() END, error_message = $5,
           error = $6::jsonb, llm_model = $9, model_rule = $10,
           token_usage = $11::jsonb, cost_micro_usd = $12
      FROM run
     WHERE steps.id = $2 AND run_id = run.id AND attempt = $3 AND status = 'running'
    RETURNING steps.*
),
-- its attempt
attempted AS (
    UPDATE step_attempts
       SET status = 'failed', reason = $4, error_path = $7, completed_at = now()
      FROM changed
     WHERE step_id = changed.id AND step_attempts.attempt = changed.attempt
),
{step_events("changed")}
SELECT FROM changed
"""
