"""The table `artifacts_pending_work` of the management database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dataplane.pools import Connection

Kind: TypeAlias = Literal["collect", "sweep"]

CLAIM_SECONDS = 600
RECENT_SECONDS = 600
"""A note so recent may stand for a transaction that has not begun yet."""


@dataclass(frozen=True, slots=True)
class Work:
    tenant_id: str
    kind: Kind


async def note(connection: Connection, tenant_id: str, delay_seconds: float) -> None:
    """Schedule a visit of the collector in `delay_seconds`, unless one is due before."""
    await connection.execute(
        """
        INSERT INTO artifacts_pending_work (tenant_id, kind, due_at)
        VALUES ($1, 'collect', now() + make_interval(secs => $2))
        ON CONFLICT (tenant_id, kind) DO UPDATE SET
            due_at = least(artifacts_pending_work.due_at, EXCLUDED.due_at),
            noted_at = now()
        """,
        tenant_id,
        delay_seconds,
    )


async def note_sweeps(
    connection: Connection, tenant_ids: Sequence[str], within_seconds: float
) -> None:
    """Plan a first sweep for tenants that have none, spread over `within_seconds`."""
    await connection.execute(
        """
        INSERT INTO artifacts_pending_work (tenant_id, kind, due_at)
        SELECT tenant_id, 'sweep', now() + make_interval(secs => $2 * random())
          FROM unnest($1::text[]) AS active (tenant_id)
        ON CONFLICT (tenant_id, kind) DO NOTHING
        """,
        tenant_ids,
        within_seconds,
    )


async def claim(connection: Connection) -> Work | None:
    """Take what has been due longest, so that no other process takes it for ten minutes."""
    row = await connection.fetchrow(
        """
        UPDATE artifacts_pending_work
           SET due_at = now() + make_interval(secs => $1)
         WHERE (tenant_id, kind) IN (
               SELECT tenant_id, kind
                 FROM artifacts_pending_work
                WHERE due_at <= now()
                ORDER BY due_at
                LIMIT 1
                  FOR UPDATE SKIP LOCKED)
        RETURNING tenant_id, kind
        """,
        CLAIM_SECONDS,
    )
    return None if row is None else Work(row["tenant_id"], row["kind"])


async def postpone(connection: Connection, work: Work, seconds: float) -> None:
    """Say when to come again."""
    await connection.execute(
        """
        UPDATE artifacts_pending_work
           SET due_at = now() + make_interval(secs => $3)
         WHERE tenant_id = $1 AND kind = $2
        """,
        work.tenant_id,
        work.kind,
        seconds,
    )


async def finish(connection: Connection, work: Work) -> bool:
    """Strike out a visit that found nothing left; false when it was noted just now."""
    done = await connection.execute(
        """
        DELETE FROM artifacts_pending_work
         WHERE tenant_id = $1 AND kind = $2
           AND noted_at < now() - make_interval(secs => $3)
        """,
        work.tenant_id,
        work.kind,
        RECENT_SECONDS,
    )
    return done == "DELETE 1"
