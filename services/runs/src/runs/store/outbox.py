"""The table `outbox`: what workflows are still to be told: starts, cancellations, decisions."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

if TYPE_CHECKING:
    from datetime import timedelta

    import asyncpg

    from dataplane.pools import Connection


@dataclass(frozen=True, slots=True)
class OutboxMessage:
    """A start, a cancellation, or that somebody has decided; and of which run."""

    id: int
    kind: Literal["start", "cancel", "decision"]
    run_id: str
    epoch: int
    plan: list[Any]
    retry_step: str
    retry_item: int
    task_queue: str
    """The pipeline's own; empty for the common one."""


async def add(connection: Connection, run_id: str, kind: Literal["start", "cancel"]) -> None:
    """Add a message, unless it is there. The relay delivers it after 5 s at the earliest."""
    await connection.execute(
        """
        INSERT INTO outbox (run_id, kind, due_at) VALUES ($1, $2, now() + interval '5 seconds')
        ON CONFLICT (run_id, kind) DO NOTHING
        """,
        UUID(run_id),
        kind,
    )


async def add_again(connection: Connection, run_id: str, kind: Literal["decision"]) -> int:
    """Add a message in place of one that is there, which is being delivered perhaps: what it tells
    of came before. Return its id.
    """
    return await connection.fetchval(
        """
        INSERT INTO outbox (run_id, kind, due_at) VALUES ($1, $2, now() + interval '5 seconds')
        ON CONFLICT (run_id, kind) DO UPDATE SET id = DEFAULT, due_at = EXCLUDED.due_at
        RETURNING id
        """,
        UUID(run_id),
        kind,
    )


async def claim(
    connection: Connection,
    limit: int,
    retry_after: timedelta,
    kinds: Literal["all", "starts", "others"] = "all",
) -> tuple[OutboxMessage, ...]:
    """Claim messages that are due, oldest first; each is due again after `retry_after`.

    `kinds` tells whether only starts are claimed, or all others.
    """
    rows = await connection.fetch(
        _CLAIM.format(kinds=_KINDS[kinds]),
        limit,
        retry_after,
    )
    return tuple(map(_message, rows))


def _message(row: asyncpg.Record) -> OutboxMessage:
    return OutboxMessage(
        row["id"],
        row["kind"],
        str(row["run_id"]),
        row["epoch"],
        json.loads(row["plan"]),
        row["retry_step"] or "",
        row["retry_item"] or 0,
        row["task_queue"],
    )


async def remove(connection: Connection, run_id: str, epoch: int, kind: str) -> None:
    """Remove a message that has been delivered, unless it is for a later epoch by now."""
    await connection.execute(
        """
        DELETE FROM outbox USING runs
         WHERE run_id = $1 AND kind = $3 AND runs.id = run_id AND epoch = $2
        """,
        UUID(run_id),
        epoch,
        kind,
    )


async def remove_message(connection: Connection, message_id: int) -> None:
    """Remove a message that has been delivered, unless another one has taken its place."""
    await connection.execute("DELETE FROM outbox WHERE id = $1", message_id)


_KINDS = {"all": "true", "starts": "kind = 'start'", "others": "kind <> 'start'"}

_CLAIM = """
WITH due AS (
    SELECT id FROM outbox
     WHERE due_at <= now() AND {kinds}
     ORDER BY id
     LIMIT $1
       FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE outbox SET attempts = attempts + 1, due_at = now() + $2
      FROM due
     WHERE outbox.id = due.id
    RETURNING outbox.id, outbox.kind, outbox.run_id
)
SELECT claimed.id, claimed.kind, claimed.run_id, runs.epoch, pipelines.plan,
       runs.retry_step, runs.retry_item,
       coalesce(pipelines.code_needs ->> 'task_queue', '') AS task_queue
  FROM claimed
  JOIN runs ON runs.id = claimed.run_id
  JOIN pipelines ON pipelines.pipeline = runs.pipeline
   AND pipelines.version = runs.pipeline_version
 ORDER BY claimed.id
"""
