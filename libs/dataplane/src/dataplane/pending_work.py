"""Which tenants have background work, and when to look for it next.

Each service has a table `<service>_pending_work` in the management database, with one row for each
tenant. `PendingWorkScheduler` writes a tenant's row before the transaction that makes the work
begins, so that no work exists for which nobody looks; `PendingWorkPoller` claims the rows that are
due. Rows stay: a tenant without work is polled once a day, which finds whatever was never written.

This module has the table and its statements.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from dataplane.pools import Connection


@dataclass(frozen=True, slots=True)
class PendingWorkTable:
    """A service's table, or its rows of one kind of work.

    Times are counted from the moment at which a row was last written (`noted_at`).
    """

    name: str
    kind: str | None
    """The value of its column `kind`; None for a table without that column."""
    delay_seconds: float
    """How soon the work of a scheduled tenant is polled for."""
    rewrite_seconds: float
    """For how long a process relies on a row that it has written, before it writes it again."""
    settle_seconds: float
    """When every transaction that relies on a row has ended: `rewrite_seconds` and a long call."""
    idle_seconds: float = 86_400.0
    """How often a tenant without work is polled."""

    @property
    def last_due_seconds(self) -> float:
        """When the work of the last transaction that relies on a row is due."""
        return self.rewrite_seconds + self.delay_seconds

    @property
    def columns(self) -> str:
        """The columns that name a row, in SQL."""
        return "tenant_id" if self.kind is None else "tenant_id, kind"

    @property
    def values(self) -> str:
        """The values of these columns for a `tenant_id`, in SQL."""
        return "tenant_id" if self.kind is None else f"tenant_id, '{self.kind}'"

    @property
    def condition(self) -> str:
        """The condition for the rows of `kind`, in SQL; the table is called `work`."""
        return "true" if self.kind is None else f"work.kind = '{self.kind}'"


@dataclass(frozen=True, slots=True)
class ClaimedTenant:
    """A tenant whose poll is due, as its row was when it was claimed."""

    tenant_id: str
    noted_at: datetime
    late_seconds: float = 0.0


async def insert(
    connection: Connection, table: PendingWorkTable, tenant_ids: Collection[str], seconds: float
) -> None:
    """Schedule a poll of tenants `seconds` from now, or sooner if that is due already."""
    await connection.execute(
        f"""
        INSERT INTO {table.name} AS work ({table.columns}, due_at)
        SELECT {table.values}, now() + make_interval(secs => $2)
          FROM unnest($1::text[]) AS scheduled (tenant_id)
         ORDER BY tenant_id
        ON CONFLICT ({table.columns}) DO UPDATE
           SET noted_at = now(), due_at = least(work.due_at, excluded.due_at)
        """,
        list(tenant_ids),
        seconds,
    )


async def insert_missing(
    connection: Connection, table: PendingWorkTable, tenant_ids: Collection[str]
) -> None:
    """Have tenants without a row polled, spread over `idle_seconds`."""
    await connection.execute(
        f"""
        INSERT INTO {table.name} AS work ({table.columns}, due_at)
        SELECT {table.values}, now() + make_interval(secs => $2 * random())
          FROM unnest($1::text[]) AS active (tenant_id)
         ORDER BY tenant_id
        ON CONFLICT ({table.columns}) DO NOTHING
        """,
        list(tenant_ids),
        table.idle_seconds,
    )


async def poll_within(
    connection: Connection, table: PendingWorkTable, tenant_ids: Collection[str], seconds: float
) -> None:
    """Have each of these tenants polled within `seconds`, spread over them."""
    await connection.execute(
        f"""
        INSERT INTO {table.name} AS work ({table.columns}, due_at)
        SELECT {table.values}, now() + make_interval(secs => $2 * random())
          FROM unnest($1::text[]) AS active (tenant_id)
         ORDER BY tenant_id
        ON CONFLICT ({table.columns}) DO UPDATE
           SET due_at = least(work.due_at, excluded.due_at)
        """,
        list(tenant_ids),
        seconds,
    )


async def claim(
    connection: Connection, table: PendingWorkTable, limit: int, lease_seconds: float
) -> tuple[ClaimedTenant, ...]:
    """Claim tenants that are due, longest due first; nobody else does for `lease_seconds`."""
    rows = await connection.fetch(
        f"""
        -- those that no other process is claiming
        WITH due AS (
            SELECT tenant_id, due_at AS was_due_at
              FROM {table.name} AS work
             WHERE due_at <= now() AND {table.condition}
             ORDER BY due_at
             LIMIT $1
               FOR UPDATE SKIP LOCKED
        )
        UPDATE {table.name} AS work
           SET due_at = now() + make_interval(secs => $2)
          FROM due
         WHERE work.tenant_id = due.tenant_id AND {table.condition}
        RETURNING work.tenant_id, work.noted_at, extract(epoch FROM now() - was_due_at)::float8
        """,
        limit,
        lease_seconds,
    )
    return tuple(ClaimedTenant(*row) for row in rows)


async def reschedule(
    connection: Connection, table: PendingWorkTable, claimed: ClaimedTenant, seconds: float
) -> None:
    """Have a tenant with work left polled `seconds` from now.

    It is polled sooner if it was scheduled since the claim, and once when the work of the last
    transaction that relies on its row is due.
    """
    await connection.execute(
        f"""
        UPDATE {table.name} AS work
           SET due_at = CASE
                   WHEN noted_at <> $2
                   THEN least(due_at, now() + make_interval(secs => $3))
                   WHEN noted_at + make_interval(secs => $4) > now()
                   THEN least(now() + make_interval(secs => $3),
                              noted_at + make_interval(secs => $4))
                   ELSE now() + make_interval(secs => $3)
               END
         WHERE tenant_id = $1 AND {table.condition}
        """,
        claimed.tenant_id,
        claimed.noted_at,
        seconds,
        table.last_due_seconds,
    )


async def complete(connection: Connection, table: PendingWorkTable, claimed: ClaimedTenant) -> None:
    """Have a tenant without work polled after `idle_seconds`.

    It is polled sooner if it was scheduled since the claim, once when the work of the last
    transaction that relies on its row is due, and once when all of these have ended.
    """
    await connection.execute(
        f"""
        UPDATE {table.name} AS work
           SET due_at = CASE
                   WHEN noted_at <> $2
                   THEN least(due_at, noted_at + make_interval(secs => $3))
                   WHEN noted_at + make_interval(secs => $3) > now()
                   THEN noted_at + make_interval(secs => $3)
                   WHEN noted_at + make_interval(secs => $4) > now()
                   THEN noted_at + make_interval(secs => $4)
                   ELSE now() + make_interval(secs => $5)
               END
         WHERE tenant_id = $1 AND {table.condition}
        """,
        claimed.tenant_id,
        claimed.noted_at,
        table.last_due_seconds,
        table.settle_seconds,
        table.idle_seconds,
    )
