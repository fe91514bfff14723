"""The tables `steps` and `step_attempts`: how a piece of work moves through its life.

Every move is guarded by the run's epoch and status and by the attempt, so an attempt that was given
up and wakes late changes nothing. Moves of one run are one statement, their events included: it
locks the run first, so that a run that gets its final status at this very moment gets nothing
afterwards.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from runs.store.events import OPEN, STEPS_BEGUN, STEPS_ENDED, TURN
from runs.store.outcomes import Outcome, spending

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg

    from dataplane.pools import Connection
    from runs.domain.failures import StepFailed
    from runs.domain.generation import Spent
    from runs.domain.work import Work

_OPEN_RUN = f"""
    {TURN}, run AS (
        SELECT id FROM runs, turn WHERE id = $1 AND {OPEN} FOR NO KEY UPDATE OF runs
    )
"""
_RUNNING_RUN = f"""
    {TURN}, run AS (
        SELECT id, epoch FROM runs, turn
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
class Attempt:
    """An attempt at a piece of work that has begun."""

    row_id: int
    attempt: int
    failed_before: int
    """How many attempts before it failed."""
    lost_before: int
    """How many attempts before it never told how they ended."""


class MoveStore:
    async def begin(self, connection: Connection, works: Sequence[Work]) -> list[Attempt | None]:
        """Begin an attempt at each of some pieces of work of one run, no two of them the same.

        None for one that is done, or if the run is closed for it.
        """
        rows = await connection.fetch(
            _BEGIN,
            *_run(works),
            [work.step for work in works],
            [work.item for work in works],
            [work.visit for work in works],
        )
        begun = {
            _piece(row): Attempt(
                row["id"], row["attempt"], row["failed_before"], row["lost_before"]
            )
            for row in rows
        }
        return [begun.get((work.step, work.item, work.visit)) for work in works]

    async def complete(
        self, connection: Connection, ends: Sequence[tuple[Work, Attempt, Outcome]]
    ) -> list[bool]:
        """Record that attempts at pieces of work of one run have done their work.

        False for one that another attempt has taken over, or if the run is closed.
        """
        documents = [
            {"id": attempt.row_id, "attempt": attempt.attempt, **outcome.columns()}
            for _, attempt, outcome in ends
        ]
        rows = await connection.fetch(
            _COMPLETE,
            UUID(ends[0][0].run_id),
            json.dumps(documents),
            # Their own array, by which the planner sees that they are few, and goes by the index.
            [attempt.row_id for _, attempt, _ in ends],
        )
        done = {row["id"] for row in rows}
        return [attempt.row_id in done for _, attempt, _ in ends]

    async def complete_at_once(
        self, connection: Connection, ends: Sequence[tuple[Work, Outcome]]
    ) -> list[bool]:
        """Record short steps of one run as begun and done, no two of them the same.

        False for one that is done, or if the run is closed for it.
        """
        works = [work for work, _ in ends]
        documents = [
            {"step": work.step, "item": work.item, "visit": work.visit, **outcome.columns()}
            for work, outcome in ends
        ]
        rows = await connection.fetch(
            _COMPLETE_AT_ONCE,
            *_run(works),
            json.dumps(documents),
        )
        done = set(map(_piece, rows))
        return [(work.step, work.item, work.visit) in done for work in works]

    async def fail(
        self,
        connection: Connection,
        work: Work,
        attempt: Attempt,
        failure: StepFailed,
        spent: Spent | None = None,
        *,
        final: bool,
    ) -> None:
        """Record that an attempt failed, and when it was the last, that the work did.

        `spent` is what the work has spent by then. Nothing changes if another attempt took over, or
        the run is closed.
        """
        await connection.execute(
            f"""
            WITH {_OPEN_RUN}, piece AS (
                UPDATE steps
                   SET status = CASE WHEN $8 THEN 'failed' ELSE status END,
                       completed_at = CASE WHEN $8 THEN now() END, error_message = $5,
                       error = $6::jsonb, llm_model = $9, model_rule = $10,
                       token_usage = $11::jsonb, cost_micro_usd = $12
                  FROM run
                 WHERE steps.id = $2 AND run_id = run.id AND attempt = $3 AND status = 'running'
                RETURNING steps.*
            ), attempted AS (
                UPDATE step_attempts
                   SET status = 'failed', reason = $4, error_path = $7, completed_at = now()
                  FROM piece
                 WHERE step_id = piece.id AND step_attempts.attempt = piece.attempt
            ), {STEPS_ENDED}
            SELECT FROM piece
            """,
            *(*_row(work, attempt), failure.reason, failure.message),
            *(_error(work, failure), failure.error_path or None, final),
            *spending(spent),
        )


def key(work: Work) -> tuple[UUID, int, str, int, int]:
    """Return the values of run_id, epoch, step, item and visit."""
    return UUID(work.run_id), work.epoch, work.step, work.item, work.visit


def _run(works: Sequence[Work]) -> tuple[UUID, int]:
    """Return the values of run_id and epoch, which all have."""
    return UUID(works[0].run_id), works[0].epoch


def _piece(row: asyncpg.Record) -> tuple[str, int, int]:
    return row["step"], row["item"], row["visit"]


def _row(work: Work, attempt: Attempt) -> tuple[UUID, int, int]:
    """Return the values of run_id, and of id and attempt of the row of `steps`."""
    return UUID(work.run_id), attempt.row_id, attempt.attempt


def _error(work: Work, failure: StepFailed) -> str:
    return json.dumps(
        {
            "reason": failure.reason,
            "message": failure.message,
            "step": work.step,
            "error_path": failure.error_path,
        }
    )


_BEGIN = f"""
WITH {_RUNNING_RUN}, piece AS (
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
), lost AS (
    UPDATE step_attempts
       SET status = 'failed', reason = 'LOST', completed_at = now()
      FROM piece
     WHERE step_id = piece.id AND step_attempts.status = 'running'
    RETURNING step_id
), attempted AS (
    INSERT INTO step_attempts (step_id, epoch, attempt, status)
    SELECT id, epoch, attempt, 'running' FROM piece
), {STEPS_BEGUN}
SELECT piece.step, piece.item, piece.visit, piece.id, piece.attempt,
       count(past.*) FILTER (WHERE past.reason <> 'LOST') AS failed_before,
       count(past.*) FILTER (WHERE past.reason = 'LOST')
           + (SELECT count(*) FROM lost WHERE step_id = piece.id) AS lost_before
  FROM piece
  LEFT JOIN step_attempts AS past
    ON past.step_id = piece.id AND past.status = 'failed'
 GROUP BY piece.step, piece.item, piece.visit, piece.id, piece.attempt
"""

_COMPLETE = f"""
WITH {_OPEN_RUN}, piece AS (
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
), attempted AS (
    UPDATE step_attempts
       SET status = piece.status, completed_at = now()
      FROM piece
     WHERE step_id = piece.id AND step_attempts.attempt = piece.attempt
), {STEPS_ENDED}
SELECT id FROM piece
"""

_COMPLETE_AT_ONCE = f"""
WITH {_RUNNING_RUN}, piece AS (
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
), attempted AS (
    INSERT INTO step_attempts (step_id, epoch, attempt, status, completed_at)
    SELECT id, epoch, attempt, status, now() FROM piece
), {STEPS_BEGUN}
SELECT step, item, visit FROM piece
"""
