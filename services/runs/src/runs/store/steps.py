"""The tables `steps` and `step_attempts`: how a piece of work moves through its life.

Every move is guarded by the run's epoch and status and by the attempt, so an attempt that was given
up and wakes late changes nothing. Each move is one statement, its event included: it locks the run
first, so that a run that gets its final status at this very moment gets nothing afterwards.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from runs.store import rows
from runs.store.events import OPEN, STEP_BEGUN, STEP_ENDED
from runs.store.outcomes import Outcome, spending

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dataplane.pools import Connection
    from runs.domain.failures import StepFailed
    from runs.domain.generation import Spent
    from runs.domain.runs import Failure, OutputFile
    from runs.domain.steps import RunStep
    from runs.domain.work import RunRef, Work

_COLUMNS = """
    id, step, item, visit, status, retry_count, llm_model, model_rule, token_usage,
    cost_micro_usd, prompt_version, prompt_digest, output_path, output_digest, summary, metrics,
    error, started_at, completed_at
"""


_OPEN_RUN = f"run AS (SELECT id FROM runs WHERE id = $1 AND {OPEN} FOR NO KEY UPDATE)"
_RUNNING_RUN = """
    run AS (
        SELECT id, epoch FROM runs
         WHERE id = $1 AND epoch = $2 AND status IN ('running', 'paused')
           FOR NO KEY UPDATE
    )
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


class StepStore:
    async def begin(self, connection: Connection, work: Work) -> Attempt | None:
        """Begin an attempt; None if the work is done, or the run is closed for it."""
        row = await connection.fetchrow(
            f"""
            WITH {_RUNNING_RUN}, piece AS (
                INSERT INTO steps (run_id, step, item, visit, epoch, status, started_at)
                SELECT id, $3, $4, $5, epoch, 'running', now() FROM run
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
            ), {STEP_BEGUN}
            SELECT piece.id, piece.attempt,
                   count(past.*) FILTER (WHERE past.reason <> 'LOST') AS failed_before,
                   count(past.*) FILTER (WHERE past.reason = 'LOST')
                       + (SELECT count(*) FROM lost) AS lost_before
              FROM piece
              LEFT JOIN step_attempts AS past
                ON past.step_id = piece.id AND past.status = 'failed'
             GROUP BY piece.id, piece.attempt
            """,
            *_key(work),
        )
        if row is None:
            return None
        return Attempt(row["id"], row["attempt"], row["failed_before"], row["lost_before"])

    async def current(self, connection: Connection, work: Work) -> Attempt | None:
        """Return the attempt that is being made; None if the work is done or was never begun."""
        row = await connection.fetchrow(
            """
            SELECT id, attempt FROM steps
             WHERE run_id = $1 AND epoch = $2 AND step = $3 AND item = $4 AND visit = $5
               AND status = 'running'
            """,
            *_key(work),
        )
        return None if row is None else Attempt(row["id"], row["attempt"], 0, 0)

    async def complete(
        self, connection: Connection, work: Work, attempt: Attempt, outcome: Outcome
    ) -> bool:
        """Record that an attempt has done its work.

        False if another attempt has taken over, or the run is closed.
        """
        return await connection.fetchval(
            f"""
            WITH {_OPEN_RUN}, piece AS (
                UPDATE steps
                   SET status = $4, completed_at = now(), error = NULL, error_message = NULL,
                       output_path = $5, output_digest = $6, summary = $7, metrics = $8::jsonb,
                       llm_model = $9, model_rule = $10, token_usage = $11::jsonb,
                       cost_micro_usd = $12, prompt_version = $13, prompt_digest = $14
                  FROM run
                 WHERE steps.id = $2 AND run_id = run.id AND attempt = $3 AND status = 'running'
                RETURNING steps.*
            ), attempted AS (
                UPDATE step_attempts
                   SET status = $4, completed_at = now()
                  FROM piece
                 WHERE step_id = piece.id AND step_attempts.attempt = piece.attempt
            ), {STEP_ENDED}
            SELECT EXISTS (SELECT FROM piece)
            """,
            *_row(work, attempt),
            *outcome.columns(),
        )

    async def complete_at_once(self, connection: Connection, work: Work, outcome: Outcome) -> bool:
        """Record a short step as begun and done; False if it is done, or the run closed for it."""
        return await connection.fetchval(
            f"""
            WITH {_RUNNING_RUN}, piece AS (
                INSERT INTO steps (run_id, step, item, visit, epoch, started_at, completed_at,
                                   status, output_path, output_digest, summary, metrics, llm_model,
                                   model_rule, token_usage, cost_micro_usd, prompt_version,
                                   prompt_digest)
                SELECT id, $3, $4, $5, epoch, now(), now(),
                       $6, $7, $8, $9, $10::jsonb, $11, $12, $13::jsonb, $14, $15, $16
                  FROM run
                ON CONFLICT (run_id, step, item, visit) DO UPDATE
                   SET status = EXCLUDED.status, completed_at = now(), error = NULL,
                       error_message = NULL, epoch = EXCLUDED.epoch, attempt = steps.attempt + 1,
                       retry_count = steps.retry_count + 1,
                       output_path = EXCLUDED.output_path, output_digest = EXCLUDED.output_digest,
                       summary = EXCLUDED.summary, metrics = EXCLUDED.metrics
                 WHERE steps.status = 'running' AND steps.epoch <= EXCLUDED.epoch
                RETURNING *
            ), attempted AS (
                INSERT INTO step_attempts (step_id, epoch, attempt, status, completed_at)
                SELECT id, epoch, attempt, status, now() FROM piece
            ), {STEP_BEGUN}
            SELECT EXISTS (SELECT FROM piece)
            """,
            *_key(work),
            *outcome.columns(),
        )

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
            ), {STEP_ENDED}
            SELECT FROM piece
            """,
            *(*_row(work, attempt), failure.reason, failure.message),
            *(_error(work, failure), failure.error_path or None, final),
            *spending(spent),
        )

    async def find(self, connection: Connection, work: Work) -> RunStep | None:
        row = await connection.fetchrow(
            f"""
            SELECT {_COLUMNS} FROM steps
             WHERE run_id = $1 AND epoch <= $2 AND step = $3 AND item = $4 AND visit = $5
            """,
            *_key(work),
        )
        return None if row is None else rows.run_step(row)

    async def done(
        self, connection: Connection, run_id: str, steps: Sequence[str]
    ) -> dict[str, RunStep]:
        """Return those of the steps that are done, as wholes, by name."""
        found = await connection.fetch(
            f"""
            SELECT {_COLUMNS} FROM steps
             WHERE run_id = $1 AND step = ANY($2) AND item = 0 AND visit = 1
               AND status IN ('completed', 'skipped')
            """,
            UUID(run_id),
            list(steps),
        )
        return {row["step"]: rows.run_step(row) for row in found}

    async def items(self, connection: Connection, run_id: str, step: str) -> tuple[OutputFile, ...]:
        """Return the outputs of a mapped step's items, in their order."""
        found = await connection.fetch(
            f"""
            SELECT {_COLUMNS} FROM steps
             WHERE run_id = $1 AND step = $2 AND item > 0 AND status = 'completed'
             ORDER BY item
            """,
            UUID(run_id),
            step,
        )
        steps = map(rows.run_step, found)
        return tuple(step.output for step in steps if step.output is not None)

    async def find_failure(self, connection: Connection, run: RunRef) -> Failure | None:
        """Return why the run's first failed piece of work failed."""
        row = await connection.fetchrow(
            f"""
            SELECT {_COLUMNS} FROM steps
             WHERE run_id = $1 AND epoch = $2 AND status = 'failed'
             ORDER BY completed_at, id
             LIMIT 1
            """,
            UUID(run.run_id),
            run.epoch,
        )
        return None if row is None else rows.run_step(row).error


def _key(work: Work) -> tuple[UUID, int, str, int, int]:
    """Return the values of run_id, epoch, step, item and visit."""
    return UUID(work.run_id), work.epoch, work.step, work.item, work.visit


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
