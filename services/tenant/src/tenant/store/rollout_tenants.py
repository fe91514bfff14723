"""The table `rollout_tenants`: which tenants a rollout migrates, and how far each is."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import paging
from tenant.domain.rollouts import RolloutTenant, RolloutTenantState

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import asyncpg

    from dataplane.pools import Connection


async def insert(connection: Connection, rollout_id: str, waves: Sequence[Sequence[str]]) -> None:
    """Insert the tenants of each wave, in the order in which they are migrated."""
    placed = [(number, tenant_id) for number, wave in enumerate(waves, 1) for tenant_id in wave]
    await connection.execute(
        """
        INSERT INTO rollout_tenants (rollout_id, tenant_id, wave, place)
        SELECT $1, tenant_id, wave, place
          FROM unnest($2::text[], $3::int[]) WITH ORDINALITY AS t (tenant_id, wave, place)
        """,
        UUID(rollout_id),
        [tenant_id for _, tenant_id in placed],
        [number for number, _ in placed],
    )


async def reopen(connection: Connection, rollout_id: str) -> None:
    """Give those another turn that have failed, and those whose process died in between."""
    await connection.execute(
        """
        UPDATE rollout_tenants SET state = 'pending', failure = ''
         WHERE rollout_id = $1 AND state IN ('running', 'failed')
        """,
        UUID(rollout_id),
    )


async def next_wave(connection: Connection, rollout_id: str) -> int | None:
    """Return the first wave with a tenant whose turn has not come."""
    return await connection.fetchval(
        "SELECT min(wave) FROM rollout_tenants WHERE rollout_id = $1 AND state = 'pending'",
        UUID(rollout_id),
    )


async def claim(connection: Connection, rollout_id: str, wave: int) -> str | None:
    """Begin with the next tenant of a wave and return it.

    None when there is none left, when the operation is to stop, or when more tenants have failed
    than the rollout's budget allows.
    """
    return await connection.fetchval(
        """
        UPDATE rollout_tenants
           SET state = 'running', begun_at = clock_timestamp(), ended_at = NULL
         WHERE (rollout_id, tenant_id) = (
                SELECT t.rollout_id, t.tenant_id
                  FROM rollout_tenants AS t JOIN rollouts AS r ON r.id = t.rollout_id
                  JOIN operations AS o ON o.id = t.rollout_id
                 WHERE t.rollout_id = $1 AND t.wave = $2 AND t.state = 'pending'
                   AND o.state = 'running' AND NOT o.cancel_requested
                   AND r.failure_budget >= (
                        SELECT count(*) FROM rollout_tenants AS f
                         WHERE f.rollout_id = $1 AND f.state = 'failed')
                 ORDER BY t.place
                 LIMIT 1
                   FOR UPDATE OF t SKIP LOCKED)
        RETURNING tenant_id
        """,
        UUID(rollout_id),
        wave,
    )


async def record(
    connection: Connection,
    rollout_id: str,
    tenant_id: str,
    state: RolloutTenantState,
    failure: str = "",
) -> None:
    """Record how a tenant's turn ended."""
    await connection.execute(
        """
        UPDATE rollout_tenants SET state = $3, failure = $4, ended_at = clock_timestamp()
         WHERE rollout_id = $1 AND tenant_id = $2
        """,
        UUID(rollout_id),
        tenant_id,
        state.value,
        failure,
    )


async def progress(connection: Connection, rollout_id: str) -> tuple[int, int]:
    """Return how many tenants had their turn, and how many there are."""
    row = await connection.fetchrow(
        """
        SELECT count(*) FILTER (WHERE state IN ('done', 'skipped')) AS ended, count(*) AS total
          FROM rollout_tenants WHERE rollout_id = $1
        """,
        UUID(rollout_id),
    )
    return (0, 0) if row is None else (row["ended"], row["total"])


async def page(
    connection: Connection,
    rollout_id: str,
    covered: Collection[str] | None,
    state: RolloutTenantState | None,
    size: int,
    token: str,
) -> paging.Page[RolloutTenant]:
    """Return one page of a rollout's tenants, sorted by id; limited to `covered` unless None."""
    limit = size or paging.DEFAULT_SIZE
    rows = await connection.fetch(
        """
        SELECT tenant_id, wave, state, failure, begun_at, ended_at
          FROM rollout_tenants
         WHERE rollout_id = $1 AND tenant_id > $2
           AND ($3::text[] IS NULL OR tenant_id = ANY($3))
           AND ($4::text IS NULL OR state = $4)
         ORDER BY tenant_id
         LIMIT $5
        """,
        UUID(rollout_id),
        paging.decode(token, str) or "",
        None if covered is None else list(covered),
        None if state is None else state.value,
        limit + 1,
    )
    return paging.page(rows, limit, _tenant, "tenant_id")


def _tenant(row: asyncpg.Record) -> RolloutTenant:
    return RolloutTenant(
        tenant_id=row["tenant_id"],
        wave=row["wave"],
        state=RolloutTenantState(row["state"]),
        failure=row["failure"],
        begin_time=row["begun_at"],
        end_time=row["ended_at"],
    )
