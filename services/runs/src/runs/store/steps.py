"""The tables `steps` and `step_attempts`: how a piece of work moves through its life.

Every move is guarded by the run's epoch and status and by the attempt, so an attempt that was given
up and wakes late changes nothing. Each move leaves an event in the same transaction, and raises
RunClosed if the run has got its final status at this very moment: then nothing may be committed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from runs.store import rows
from runs.store.events import EventStore, Progress
from runs.store.outcomes import Outcome, progress, spending

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
    def __init__(self) -> None:
        self._events = EventStore()

    async def begin(self, connection: Connection, work: Work) -> Attempt | None:
        """Begin an attempt; None if the work is done, or the run is closed for it."""
        row = await connection.fetchrow(
            """
            WITH begun AS (
                INSERT INTO steps (run_id, step, item, visit, epoch, status, started_at)
                SELECT id, $3, $4, $5, epoch, 'running', now() FROM runs
                 WHERE id = $1 AND epoch = $2 AND status IN ('running', 'paused')
                ON CONFLICT (run_id, step, item, visit) DO UPDATE
                   SET status = 'running', epoch = EXCLUDED.epoch,
                       attempt = steps.attempt + 1, retry_count = steps.retry_count + 1
                 WHERE steps.status = 'running' AND steps.epoch <= EXCLUDED.epoch
                RETURNING id, epoch, attempt
            ), lost AS (
                UPDATE step_attempts
                   SET status = 'failed', reason = 'LOST', completed_at = now()
                  FROM begun
                 WHERE step_id = begun.id AND status = 'running'
                RETURNING step_id
            ), attempted AS (
                INSERT INTO step_attempts (step_id, epoch, attempt, status)
                SELECT id, epoch, attempt, 'running' FROM begun
            )
            SELECT begun.id, begun.attempt,
                   count(past.*) FILTER (WHERE past.reason <> 'LOST') AS failed_before,
                   count(past.*) FILTER (WHERE past.reason = 'LOST')
                       + (SELECT count(*) FROM lost) AS lost_before
              FROM begun
              LEFT JOIN step_attempts AS past
                ON past.step_id = begun.id AND past.status = 'failed'
             GROUP BY begun.id, begun.attempt
            """,
            *_key(work),
        )
        if row is None:
            return None
        await self._events.append_step(
            connection, work.run_id, row["id"], Progress(current_step=work.step)
        )
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
        """Record that an attempt has done its work; False if another attempt has taken over."""
        row_id = await connection.fetchval(
            """
            WITH done AS (
                UPDATE steps
                   SET status = $3, completed_at = now(), error = NULL, error_message = NULL,
                       output_path = $4, output_digest = $5, summary = $6, metrics = $7::jsonb,
                       llm_model = $8, model_rule = $9, token_usage = $10::jsonb,
                       cost_micro_usd = $11, prompt_version = $12, prompt_digest = $13
                 WHERE id = $1 AND attempt = $2 AND status = 'running'
                RETURNING id, attempt
            ), attempted AS (
                UPDATE step_attempts
                   SET status = $3, completed_at = now()
                  FROM done
                 WHERE step_id = done.id AND step_attempts.attempt = done.attempt
            )
            SELECT id FROM done
            """,
            attempt.row_id,
            attempt.attempt,
            *outcome.columns(),
        )
        if row_id is None:
            return False
        await self._events.append_step(connection, work.run_id, row_id, outcome.progress())
        return True

    async def complete_at_once(self, connection: Connection, work: Work, outcome: Outcome) -> bool:
        """Record a short step as begun and done; False if it is done, or the run closed for it."""
        row_id = await connection.fetchval(
            """
            WITH done AS (
                INSERT INTO steps (run_id, step, item, visit, epoch, started_at, completed_at,
                                   status, output_path, output_digest, summary, metrics, llm_model,
                                   model_rule, token_usage, cost_micro_usd, prompt_version,
                                   prompt_digest)
                SELECT id, $3, $4, $5, epoch, now(), now(),
                       $6, $7, $8, $9, $10::jsonb, $11, $12, $13::jsonb, $14, $15, $16
                  FROM runs
                 WHERE id = $1 AND epoch = $2 AND status IN ('running', 'paused')
                ON CONFLICT (run_id, step, item, visit) DO UPDATE
                   SET status = EXCLUDED.status, completed_at = now(), error = NULL,
                       error_message = NULL, epoch = EXCLUDED.epoch, attempt = steps.attempt + 1,
                       retry_count = steps.retry_count + 1,
                       output_path = EXCLUDED.output_path, output_digest = EXCLUDED.output_digest,
                       summary = EXCLUDED.summary, metrics = EXCLUDED.metrics
                 WHERE steps.status = 'running' AND steps.epoch <= EXCLUDED.epoch
                RETURNING id, epoch, attempt, status
            ), attempted AS (
                INSERT INTO step_attempts (step_id, epoch, attempt, status, completed_at)
                SELECT id, epoch, attempt, status, now() FROM done
            )
            SELECT id FROM done
            """,
            *_key(work),
            *outcome.columns(),
        )
        if row_id is None:
            return False
        progress = outcome.progress(current_step=work.step)
        await self._events.append_step(connection, work.run_id, row_id, progress)
        return True

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

        `spent` is what the work has spent by then. Nothing changes if another attempt took over.
        """
        row_id = await connection.fetchval(
            """
            WITH failed AS (
                UPDATE steps
                   SET status = CASE WHEN $7 THEN 'failed' ELSE status END,
                       completed_at = CASE WHEN $7 THEN now() END, error_message = $4,
                       error = $5::jsonb, llm_model = $8, model_rule = $9,
                       token_usage = $10::jsonb, cost_micro_usd = $11
                 WHERE id = $1 AND attempt = $2 AND status = 'running'
                RETURNING id, attempt
            ), attempted AS (
                UPDATE step_attempts
                   SET status = 'failed', reason = $3, error_path = $6, completed_at = now()
                  FROM failed
                 WHERE step_id = failed.id AND step_attempts.attempt = failed.attempt
            )
            SELECT id FROM failed
            """,
            *(attempt.row_id, attempt.attempt, failure.reason, failure.message),
            *(_error(work, failure), failure.error_path or None, final),
            *spending(spent),
        )
        if row_id is not None:
            await self._events.append_step(connection, work.run_id, row_id, progress(spent))

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


def _error(work: Work, failure: StepFailed) -> str:
    return json.dumps(
        {
            "reason": failure.reason,
            "message": failure.message,
            "step": work.step,
            "error_path": failure.error_path,
        }
    )
