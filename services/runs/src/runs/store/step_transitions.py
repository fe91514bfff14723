"""The tables `steps` and `step_attempts`: a step's changes of status.

Each is conditional on the run's epoch and status and on the attempt, so an attempt that was given
up and wakes late changes nothing. Changes of one run are one statement, their events included: it
locks the run first, so that a run that gets its final status at this very moment gets nothing
afterwards.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from runs.domain.runs import Failure
from runs.store import rows
from runs.store.events import OPEN, RUN_LOCK, step_events
from runs.store.step_outcome import StepOutcome, usage_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg

    from dataplane.pools import Connection
    from runs.domain.activities import StepRef
    from runs.domain.failures import StepFailed
    from runs.domain.generation import CallUsage

_OPEN_RUN = f"""
    {RUN_LOCK},
    -- the run, unless it has a final status
    run AS (
        SELECT id FROM runs, run_lock WHERE id = $1 AND {OPEN} FOR NO KEY UPDATE OF runs
    )
"""
_RUNNING_RUN = f"""
    {RUN_LOCK},
    -- the run, if it is running in this epoch
    run AS (
        SELECT id, epoch FROM runs, run_lock
         WHERE id = $1 AND epoch = $2 AND status IN ('running', 'paused')
           FOR NO KEY UPDATE OF runs
    )
"""
_OUTCOME = """
    status text, output_path text, output_digest text, summary text, metrics jsonb,
    llm_model text, model_rule text, token_usage jsonb, cost_micro_usd bigint,
    prompt_version int, prompt_digest text, fractional_metrics jsonb
"""


@dataclass(frozen=True, slots=True)
class StepAttempt:
    """An attempt at a step that has begun."""

    row_id: int
    attempt: int
    failed_before: int
    """How many attempts before it failed."""
    lost_before: int
    """How many attempts before it ended without a result."""


async def begin(connection: Connection, refs: Sequence[StepRef]) -> list[StepAttempt | None]:
    """Begin an attempt at each of some steps of one run, no two of them the same.

    Returns None for a step that is done, or if the run is closed for it.
    """
    found = await connection.fetch(
        _BEGIN,
        *_run(refs),
        [ref.step for ref in refs],
        [ref.item for ref in refs],
        [ref.visit for ref in refs],
    )
    begun = {
        _names(row): StepAttempt(
            row["id"], row["attempt"], row["failed_before"], row["lost_before"]
        )
        for row in found
    }
    return [begun.get((ref.step, ref.item, ref.visit)) for ref in refs]


async def complete(
    connection: Connection, ends: Sequence[tuple[StepRef, StepAttempt, StepOutcome]]
) -> list[bool]:
    """Record that attempts at steps of one run have completed.

    Returns False for one that another attempt has replaced, or if the run is closed.
    """
    documents = [
        {"id": attempt.row_id, "attempt": attempt.attempt, **outcome.columns()}
        for _, attempt, outcome in ends
    ]
    found = await connection.fetch(
        _COMPLETE,
        UUID(ends[0][0].run_id),
        json.dumps(documents),
        # Their own array, by which the planner sees that they are few, and goes by the index.
        [attempt.row_id for _, attempt, _ in ends],
    )
    done = {row["id"] for row in found}
    return [attempt.row_id in done for _, attempt, _ in ends]


async def complete_at_once(
    connection: Connection, ends: Sequence[tuple[StepRef, StepOutcome]]
) -> list[bool]:
    """Record short steps of one run as begun and completed, no two of them the same.

    Returns False for one that is done, or if the run is closed for it.
    """
    refs = [ref for ref, _ in ends]
    documents = [
        {"step": ref.step, "item": ref.item, "visit": ref.visit, **outcome.columns()}
        for ref, outcome in ends
    ]
    found = await connection.fetch(
        _COMPLETE_AT_ONCE,
        *_run(refs),
        json.dumps(documents),
    )
    done = set(map(_names, found))
    return [(ref.step, ref.item, ref.visit) in done for ref in refs]


async def fail(
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
    error = Failure(failure.reason, failure.message, ref.step, failure.error_path)
    await connection.execute(
        _FAIL,
        *(*_row(ref, attempt), failure.reason, failure.message),
        *(rows.failure_json(error), failure.error_path or None, final),
        *usage_values(usage),
    )


def key(ref: StepRef) -> tuple[UUID, int, str, int, int]:
    """Return the values of run_id, epoch, step, item and visit."""
    return UUID(ref.run_id), ref.epoch, ref.step, ref.item, ref.visit


def _run(refs: Sequence[StepRef]) -> tuple[UUID, int]:
    """Return the values of run_id and epoch, which all have."""
    return UUID(refs[0].run_id), refs[0].epoch


def _names(row: asyncpg.Record) -> tuple[str, int, int]:
    return row["step"], row["item"], row["visit"]


def _row(ref: StepRef, attempt: StepAttempt) -> tuple[UUID, int, int]:
    """Return the values of run_id, and of id and attempt of the row of `steps`."""
    return UUID(ref.run_id), attempt.row_id, attempt.attempt


_BEGIN = f"""
WITH {_RUNNING_RUN},
-- new rows, and those whose attempt is replaced by this one
changed AS (
    INSERT INTO steps (run_id, step, item, visit, epoch, status, started_at)
    SELECT id, step, item, visit, epoch, 'running', now()
      FROM run, unnest($3::text[], $4::int[], $5::int[])
                WITH ORDINALITY AS asked (step, item, visit, place)
     ORDER BY place
    ON CONFLICT (run_id, step, item, visit) DO UPDATE
       SET status = 'running', epoch = EXCLUDED.epoch,
           attempt = steps.attempt + 1, retry_count = steps.retry_count + 1
     WHERE steps.status = 'running' AND steps.epoch <= EXCLUDED.epoch
    RETURNING *
),
-- attempts before it that ended without a result
lost AS (
    UPDATE step_attempts
       SET status = 'failed', reason = 'LOST', completed_at = now()
      FROM changed
     WHERE step_id = changed.id AND step_attempts.status = 'running'
    RETURNING step_id
),
attempted AS (
    INSERT INTO step_attempts (step_id, epoch, attempt, status)
    SELECT id, epoch, attempt, 'running' FROM changed
),
{step_events("changed", current_step="sums.last_step")}
SELECT changed.step, changed.item, changed.visit, changed.id, changed.attempt,
       count(past.*) FILTER (WHERE past.reason <> 'LOST') AS failed_before,
       count(past.*) FILTER (WHERE past.reason = 'LOST')
           + (SELECT count(*) FROM lost WHERE step_id = changed.id) AS lost_before
  FROM changed
  LEFT JOIN step_attempts AS past
    ON past.step_id = changed.id AND past.status = 'failed'
 GROUP BY changed.step, changed.item, changed.visit, changed.id, changed.attempt
"""

_COMPLETE = f"""
WITH {_OPEN_RUN},
-- the rows whose attempt is still the one that is completed
changed AS (
    UPDATE steps
       SET status = given.status, completed_at = now(), error = NULL,
           error_message = NULL, output_path = given.output_path,
           output_digest = given.output_digest, summary = given.summary,
           metrics = given.metrics, llm_model = given.llm_model,
           model_rule = given.model_rule, token_usage = given.token_usage,
           cost_micro_usd = given.cost_micro_usd,
           prompt_version = given.prompt_version, prompt_digest = given.prompt_digest,
           fractional_metrics = given.fractional_metrics
      FROM run, jsonb_to_recordset($2::jsonb)
                AS given (id bigint, attempt int, {_OUTCOME})
     WHERE steps.id = ANY($3::bigint[]) AND steps.id = given.id
       AND steps.run_id = run.id AND steps.attempt = given.attempt
       AND steps.status = 'running'
    RETURNING steps.*
),
attempted AS (
    UPDATE step_attempts
       SET status = changed.status, completed_at = now()
      FROM changed
     WHERE step_id = changed.id AND step_attempts.attempt = changed.attempt
),
{step_events("changed")}
SELECT id FROM changed
"""

_COMPLETE_AT_ONCE = f"""
WITH {_RUNNING_RUN},
-- new rows, and those that a failed attempt has left running
changed AS (
    INSERT INTO steps (run_id, step, item, visit, epoch, started_at, completed_at,
                       status, output_path, output_digest, summary, metrics, llm_model,
                       model_rule, token_usage, cost_micro_usd, prompt_version,
                       prompt_digest, fractional_metrics)
    SELECT run.id, step, item, visit, run.epoch, now(), now(),
           status, output_path, output_digest, summary, metrics, llm_model,
           model_rule, token_usage, cost_micro_usd, prompt_version, prompt_digest,
           fractional_metrics
      FROM run, jsonb_to_recordset($3::jsonb)
                AS given (step text, item int, visit int, {_OUTCOME})
     ORDER BY step, item, visit
    ON CONFLICT (run_id, step, item, visit) DO UPDATE
       SET status = EXCLUDED.status, completed_at = now(), error = NULL,
           error_message = NULL, epoch = EXCLUDED.epoch, attempt = steps.attempt + 1,
           retry_count = steps.retry_count + 1,
           output_path = EXCLUDED.output_path, output_digest = EXCLUDED.output_digest,
           summary = EXCLUDED.summary, metrics = EXCLUDED.metrics,
           fractional_metrics = EXCLUDED.fractional_metrics
     WHERE steps.status = 'running' AND steps.epoch <= EXCLUDED.epoch
    RETURNING *
),
attempted AS (
    INSERT INTO step_attempts (step_id, epoch, attempt, status, completed_at)
    SELECT id, epoch, attempt, status, now() FROM changed
),
{step_events("changed", current_step="sums.last_step")}
SELECT step, item, visit FROM changed
"""

_FAIL = f"""
WITH {_OPEN_RUN},
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
attempted AS (
    UPDATE step_attempts
       SET status = 'failed', reason = $4, error_path = $7, completed_at = now()
      FROM changed
     WHERE step_id = changed.id AND step_attempts.attempt = changed.attempt
),
{step_events("changed")}
SELECT FROM changed
"""
