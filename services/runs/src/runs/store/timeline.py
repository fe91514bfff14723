"""The tables `steps`, `step_attempts` and `run_events`: what happened in a run, and when."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import paging
from runs.domain.runs import RunStatus
from runs.domain.steps import StepStatus
from runs.domain.timeline import AttemptRecord, StepTimeline, phases
from runs.store import rows, runs, steps

if TYPE_CHECKING:
    import asyncpg

    from dataplane.pools import Connection
    from runs.domain.timeline import RunPhase


async def page(
    connection: Connection, run_id: str, size: int, token: str
) -> paging.Page[StepTimeline] | None:
    """Return one page of a run's pieces of work with their attempts, in the order they began.

    None if there is no run.
    """
    limit = size or paging.DEFAULT_SIZE
    found = await connection.fetch(
        f"""
        SELECT {steps.COLUMNS},
               coalesce(
                   (SELECT json_agg(attempts ORDER BY epoch, attempt)
                      FROM step_attempts AS attempts WHERE step_id = steps.id),
                   '[]'
               ) AS attempts
          FROM steps
         WHERE run_id = $1 AND id > $2
         ORDER BY id
         LIMIT $3
        """,
        UUID(run_id),
        paging.decode(token) or 0,
        limit + 1,
    )
    if not found and await runs.find(connection, run_id) is None:
        return None
    return paging.page(found, limit, _timeline, "id")


async def run_phases(connection: Connection, run_id: str) -> tuple[RunPhase, ...]:
    """Return what a run has been through, from its creation on."""
    found = await connection.fetch(
        """
        SELECT payload ->> 'status' AS status, payload ->> 'stuck_reason' AS stuck_reason,
               created_at
          FROM run_events
         WHERE run_id = $1 AND kind = 'run'
         ORDER BY seq
        """,
        UUID(run_id),
    )
    return phases(
        (RunStatus(row["status"]), row["stuck_reason"] or "", row["created_at"]) for row in found
    )


def _timeline(row: asyncpg.Record) -> StepTimeline:
    attempts: list[dict[str, Any]] = rows.document(row["attempts"])
    return StepTimeline(rows.run_step(row), tuple(map(_attempt, attempts)))


def _attempt(row: dict[str, Any]) -> AttemptRecord:
    ended = row["completed_at"]
    return AttemptRecord(
        epoch=row["epoch"],
        attempt=row["attempt"],
        status=StepStatus(row["status"]),
        reason=row["reason"] or "",
        error_path=row["error_path"] or "",
        start_time=datetime.fromisoformat(row["started_at"]),
        end_time=None if ended is None else datetime.fromisoformat(ended),
    )
