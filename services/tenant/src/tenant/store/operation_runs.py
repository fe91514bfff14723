"""The table `operations`, as the processes write it that run operations."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from uuid import UUID

from tenant.store.operations import COLUMNS, from_row

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from dataplane.pools import Connection
    from tenant.domain.operations import Operation, OperationKind, Progress

_MOST_PAUSE_SECONDS = 30


async def due(
    connection: Connection, kinds: Collection[OperationKind], limit: int
) -> list[Operation]:
    """Return operations that are to be run now, whether or not a process does.

    The oldest of each tenant comes first, then the second of each: those of one tenant wait for
    each other, and however many there are they leave room for others.
    """
    rows = await connection.fetch(
        f"""
        SELECT {COLUMNS}
          FROM (SELECT *, row_number() OVER (PARTITION BY tenant_id ORDER BY created_at) AS place
                  FROM operations
                 WHERE state = 'running' AND due_at <= now() AND kind = ANY($1)) AS due
         ORDER BY place, created_at
         LIMIT $2
        """,
        [kind.value for kind in kinds],
        limit,
    )
    return [from_row(row) for row in rows]


async def cancelled(connection: Connection, operation_ids: Collection[str]) -> set[str]:
    """Return which of these operations are to be cancelled."""
    rows = await connection.fetch(
        "SELECT id FROM operations WHERE id = ANY($1::uuid[]) AND cancel_requested",
        list(operation_ids),
    )
    return {str(row["id"]) for row in rows}


async def take(connection: Connection, operation_id: str) -> tuple[Operation, int] | None:
    """Note that a process takes up an operation, and return how often that was since it moved.

    None if it runs no longer, or is to wait. The caller holds the operation's lock.
    """
    row = await connection.fetchrow(
        f"""
        UPDATE operations SET attempts = attempts + 1
         WHERE id = $1 AND state = 'running' AND due_at <= now()
        RETURNING {COLUMNS}, attempts
        """,
        UUID(operation_id),
    )
    return None if row is None else (from_row(row), row["attempts"])


async def record_step(
    connection: Connection, operation_id: str, step: str, notes: Mapping[str, object], *, last: bool
) -> Operation | None:
    """Record a completed step; after the last one the operation is done.

    None if it runs no longer, or is to be cancelled.
    """
    row = await connection.fetchrow(
        f"""
        UPDATE operations
           SET step = $2, notes = notes || $3::jsonb,
               state = CASE WHEN $4 THEN 'done' ELSE state END,
               ended_at = CASE WHEN $4 THEN now() END,
               progress_done = NULL, progress_total = NULL, progress_unit = NULL,
               stuck_reason = '', attempts = 0, pause_seconds = 0, updated_at = now()
         WHERE id = $1 AND state = 'running' AND (NOT cancel_requested OR $4)
        RETURNING {COLUMNS}
        """,
        UUID(operation_id),
        step,
        json.dumps(dict(notes)),
        last,
    )
    return None if row is None else from_row(row)


async def set_progress(connection: Connection, operation_id: str, progress: Progress) -> None:
    """Record how much of the step under way is done."""
    await connection.execute(
        """
        UPDATE operations
           SET progress_done = $2, progress_total = $3, progress_unit = $4, stuck_reason = '',
               attempts = 0, updated_at = now()
         WHERE id = $1 AND state = 'running'
        """,
        UUID(operation_id),
        progress.done,
        progress.total,
        progress.unit,
    )


async def postpone(connection: Connection, operation_id: str, stuck_reason: str) -> None:
    """Have an operation wait, twice as long each time, 30 seconds at most, and record why."""
    await connection.execute(
        """
        UPDATE operations
           SET pause_seconds = least($3, greatest(1, 2 * pause_seconds)),
               due_at = now() + make_interval(secs => least($3, greatest(1, 2 * pause_seconds))),
               stuck_reason = $2, attempts = 0, updated_at = now()
         WHERE id = $1 AND state = 'running'
        """,
        UUID(operation_id),
        stuck_reason,
        _MOST_PAUSE_SECONDS,
    )


async def reset_steps(connection: Connection, operation_id: str) -> None:
    """Record that no step is done: what they had made is removed again."""
    await connection.execute(
        "UPDATE operations SET step = '', notes = '{}' WHERE id = $1", UUID(operation_id)
    )


async def fail(connection: Connection, operation_id: str, reason: str, message: str) -> None:
    """Record that an operation has failed."""
    await connection.execute(
        """
        UPDATE operations
           SET state = 'failed', reason = $2, message = $3, stuck_reason = '', updated_at = now(),
               ended_at = now()
         WHERE id = $1 AND state = 'running'
        """,
        UUID(operation_id),
        reason,
        message,
    )


async def mark_cancelled(connection: Connection, operation_id: str) -> None:
    """Record that what an operation had made is removed again."""
    await connection.execute(
        """
        UPDATE operations
           SET state = 'cancelled', stuck_reason = '', updated_at = now(), ended_at = now()
         WHERE id = $1 AND state = 'running'
        """,
        UUID(operation_id),
    )
