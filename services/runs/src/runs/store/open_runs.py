"""The table `runs`: those without a final status, as the reconciler sees them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from runs.domain.runs import RunStatus
from runs.store.events import OPEN, RUN_EVENT

if TYPE_CHECKING:
    from datetime import timedelta

    from dataplane.pools import Connection


@dataclass(frozen=True, slots=True)
class SilentRun:
    """A run of which nothing has been heard for a while."""

    run_id: str
    epoch: int
    status: RunStatus


class OpenRunStore:
    async def claim_silent(
        self, connection: Connection, silence: timedelta, limit: int
    ) -> tuple[SilentRun, ...]:
        """Take runs that nothing has been heard of, and that nobody has checked, for a while."""
        rows = await connection.fetch(
            f"""
            WITH silent AS (
                SELECT id FROM runs
                 WHERE {OPEN} AND NOT held
                   AND greatest(updated_at, checked_at) < now() - $1::interval
                 ORDER BY created_at, id
                 LIMIT $2
                   FOR NO KEY UPDATE SKIP LOCKED
            )
            UPDATE runs SET checked_at = now()
              FROM silent
             WHERE runs.id = silent.id
            RETURNING runs.id, runs.epoch, runs.status
            """,
            silence,
            limit,
        )
        return tuple(
            SilentRun(str(row["id"]), row["epoch"], RunStatus(row["status"])) for row in rows
        )

    async def note_stuck(self, connection: Connection, run_id: str, reason: str) -> None:
        """Note why a run does not move, or that it does when `reason` is empty, with an event."""
        await connection.execute(
            f"""
            WITH moved AS (
                UPDATE runs
                   SET stuck_reason = nullif($2, ''), last_seq = last_seq + 1
                 WHERE id = $1 AND {OPEN} AND coalesce(stuck_reason, '') <> $2
                RETURNING *
            )
            {RUN_EVENT}
            """,
            UUID(run_id),
            reason,
        )

    async def work_left(self, connection: Connection) -> bool:
        """Tell whether a run has no final status or is to be checked, or Temporal to be told."""
        return bool(
            await connection.fetchval(
                f"""
                SELECT EXISTS (SELECT FROM runs WHERE {OPEN} AND NOT held)
                    OR EXISTS (SELECT FROM outbox)
                    OR EXISTS (SELECT FROM usage_checks)
                """
            )
        )
