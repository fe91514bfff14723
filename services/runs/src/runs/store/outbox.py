"""The table `outbox`: what Temporal is still to be told of a tenant's runs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

if TYPE_CHECKING:
    from datetime import timedelta

    from dataplane.pools import Connection


@dataclass(frozen=True, slots=True)
class Message:
    """Something that Temporal is to be told, and of what."""

    id: int
    kind: Literal["start", "cancel"]
    run_id: str
    epoch: int
    plan: list[Any]


class OutboxStore:
    async def add(
        self, connection: Connection, run_id: str, kind: Literal["start", "cancel"]
    ) -> None:
        """Note what is to be told; it is not noted twice. The relay leaves it alone for 5 s."""
        await connection.execute(
            """
            INSERT INTO outbox (run_id, kind, due_at) VALUES ($1, $2, now() + interval '5 seconds')
            ON CONFLICT (run_id, kind) DO NOTHING
            """,
            UUID(run_id),
            kind,
        )

    async def claim(
        self, connection: Connection, limit: int, retry_after: timedelta
    ) -> tuple[Message, ...]:
        """Take what is due, oldest first; it is due again after a while, unless it is removed."""
        rows = await connection.fetch(
            """
            WITH due AS (
                SELECT id FROM outbox
                 WHERE due_at <= now()
                 ORDER BY id
                 LIMIT $1
                   FOR UPDATE SKIP LOCKED
            ), claimed AS (
                UPDATE outbox SET attempts = attempts + 1, due_at = now() + $2
                  FROM due
                 WHERE outbox.id = due.id
                RETURNING outbox.id, outbox.kind, outbox.run_id
            )
            SELECT claimed.id, claimed.kind, claimed.run_id, runs.epoch, pipelines.plan
              FROM claimed
              JOIN runs ON runs.id = claimed.run_id
              JOIN pipelines ON pipelines.pipeline = runs.pipeline
               AND pipelines.version = runs.pipeline_version
             ORDER BY claimed.id
            """,
            limit,
            retry_after,
        )
        return tuple(
            Message(
                row["id"], row["kind"], str(row["run_id"]), row["epoch"], json.loads(row["plan"])
            )
            for row in rows
        )

    async def remove(self, connection: Connection, run_id: str, kind: str) -> None:
        """Forget what Temporal has been told."""
        await connection.execute(
            "DELETE FROM outbox WHERE run_id = $1 AND kind = $2", UUID(run_id), kind
        )
