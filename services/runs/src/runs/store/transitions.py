"""The table `runs`: how a run moves through its life. Each move leaves an event.

Every move is guarded by the run's status and, where a workflow makes it, by the run's epoch: a
workflow of an earlier epoch, or one that comes too late, changes nothing.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from runs.domain.runs import RunStatus
from runs.store import rows
from runs.store.events import OPEN, RUN_EVENT, take_turn
from runs.store.runs import COLUMNS

if TYPE_CHECKING:
    from dataplane.pools import Connection
    from runs.domain.generation import RunUsage
    from runs.domain.runs import Failure, OutputFile, Run

_ASKS_MODELS = "prompt_versions <> '{}'::jsonb AND started_at IS NOT NULL"
_CHECKED_SOON = timedelta(seconds=1)
_CHECKED_ONCE = timedelta(seconds=16)
"""When everything is known, so that once is enough."""


class RunTransitions:
    async def begin(
        self, connection: Connection, run_id: str, epoch: int, file: OutputFile
    ) -> RunStatus | None:
        """Make a pending run running, with the input that was committed; no outbox starts it now.

        Returns the run's status afterwards, None if there is no such run of this epoch. A status
        other than RUNNING or PAUSED tells the workflow that it has nothing to do.
        """
        begun = await connection.fetchval(
            f"""
            WITH moved AS (
                UPDATE runs
                   SET status = 'running', started_at = now(), updated_at = now(),
                       stuck_reason = NULL, last_seq = last_seq + 1, input_path = $3,
                       input_digest = $4, input_summary = $5, input_metrics = $6::jsonb
                 WHERE id = $1 AND epoch = $2 AND status = 'pending'
                RETURNING *
            ), told AS (
                DELETE FROM outbox USING moved WHERE outbox.run_id = moved.id AND kind = 'start'
            ), event AS ({RUN_EVENT})
            SELECT status FROM moved
            """,
            UUID(run_id),
            epoch,
            *_input(file),
        )
        if begun is None:
            sql = "SELECT status FROM runs WHERE id = $1 AND epoch = $2"
            begun = await connection.fetchval(sql, UUID(run_id), epoch)
        return None if begun is None else RunStatus(begun)

    async def release(self, connection: Connection, run_id: str, file: OutputFile) -> Run | None:
        """Have a held run started with the input that was uploaded; None if it is not held."""
        row = await connection.fetchrow(
            f"""
            WITH moved AS (
                UPDATE runs
                   SET held = false, updated_at = now(), last_seq = last_seq + 1, input_path = $2,
                       input_digest = $3, input_summary = $4, input_metrics = $5::jsonb
                 WHERE id = $1 AND held AND status = 'pending'
                RETURNING *
            ), event AS ({RUN_EVENT})
            SELECT {COLUMNS} FROM moved
            """,
            UUID(run_id),
            *_input(file),
        )
        return None if row is None else rows.run(row)

    async def complete(self, connection: Connection, run_id: str, epoch: int) -> Run | None:
        """Record that an open run has done all its steps.

        Returns None if the run has a final status already, or another epoch.
        """
        return await self._end(connection, run_id, epoch, RunStatus.COMPLETED)

    async def finish(
        self,
        connection: Connection,
        run_id: str,
        epoch: int,
        status: RunStatus,
        error: Failure | None = None,
        usage: RunUsage | None = None,
    ) -> Run | None:
        """Give an open run a final status, and end the steps that it leaves unfinished.

        `usage` is what its calls add up to by now; without it, calls are taken to be in flight. In
        a transaction. Returns None if the run has a final status already, or another epoch.
        """
        # No step begins or ends from now on; the next statement sees those that have.
        await take_turn(connection, run_id)
        await connection.execute("SELECT FROM runs WHERE id = $1 FOR NO KEY UPDATE", UUID(run_id))
        await self._close_steps(connection, run_id, epoch, status)
        return await self._end(connection, run_id, epoch, status, error, usage)

    async def _end(
        self,
        connection: Connection,
        run_id: str,
        epoch: int,
        status: RunStatus,
        error: Failure | None = None,
        usage: RunUsage | None = None,
    ) -> Run | None:
        """Write the final status and its event, and end what is left of the run's outbox.

        What a run that asks models has cost is looked at once more when it has ended.
        """
        row = await connection.fetchrow(
            _END,
            UUID(run_id),
            epoch,
            status.value,
            None if error is None else _failure(error),
            *_usage(status, usage),
            _CHECKED_SOON,
            _CHECKED_ONCE,
        )
        return None if row is None else rows.run(row)

    async def _close_steps(
        self, connection: Connection, run_id: str, epoch: int, status: RunStatus
    ) -> None:
        """End the steps that the run leaves unfinished, each with its event."""
        await connection.execute(
            f"""
            WITH closed AS (
                UPDATE steps
                   SET status = $3, completed_at = now()
                  FROM runs
                 WHERE runs.id = $1 AND runs.epoch = $2 AND runs.{OPEN}
                   AND steps.run_id = runs.id AND steps.status = 'running'
                RETURNING steps.*
            ), attempts AS (
                UPDATE step_attempts
                   SET status = $3, completed_at = now()
                  FROM closed
                 WHERE step_attempts.step_id = closed.id AND step_attempts.status = 'running'
            ), moved AS (
                UPDATE runs SET last_seq = last_seq + (SELECT count(*) FROM closed)
                 WHERE id = $1 AND EXISTS (SELECT FROM closed)
                RETURNING last_seq
            )
            INSERT INTO run_events (run_id, seq, kind, payload, created_at)
            SELECT run_id,
                   moved.last_seq - count(*) OVER () + row_number() OVER (ORDER BY closed.id),
                   'step', jsonb_strip_nulls(to_jsonb(closed)), clock_timestamp()
              FROM closed, moved
            """,
            UUID(run_id),
            epoch,
            "cancelled" if status is RunStatus.CANCELLED else "failed",
        )


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


def _failure(error: Failure) -> str:
    return json.dumps(
        {
            "reason": error.reason,
            "message": error.message,
            "step": error.step,
            "error_path": error.error_path,
        }
    )


_END = f"""
WITH moved AS (
    UPDATE runs
       SET status = $3, error = $4::jsonb, ended_at = now(), updated_at = now(),
           stuck_reason = NULL, held = false, last_seq = last_seq + 1,
           input_tokens = coalesce($5, input_tokens),
           output_tokens = coalesce($6, output_tokens),
           cost_micro_usd = coalesce($7, cost_micro_usd),
           calls_open = $8 AND {_ASKS_MODELS}
     WHERE id = $1 AND epoch = $2 AND {OPEN}
    RETURNING *
), told AS (
    DELETE FROM outbox USING moved WHERE outbox.run_id = moved.id
), checked AS (
    INSERT INTO usage_checks (run_id, due_at)
    SELECT id, now() + CASE WHEN calls_open THEN $9::interval ELSE $10::interval END
      FROM moved
     WHERE {_ASKS_MODELS}
), event AS ({RUN_EVENT})
SELECT {COLUMNS} FROM moved
"""
