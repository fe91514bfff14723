"""The table `rollouts`: what each operation of kind `rollout` applies."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

import paging
from tenant.domain.operations import OperationKind
from tenant.domain.rollouts import WAVES, RolloutRecord, RolloutWave
from tenant.store import operations

if TYPE_CHECKING:
    from collections.abc import Mapping

    import asyncpg

    from dataplane.pools import Connection

_ROLLOUTS = f"""
    SELECT {operations.COLUMNS}, r.targets, r.failure_budget, r.concurrency,
           (SELECT coalesce(json_agg(w ORDER BY w.number), '[]')
              FROM (
                    SELECT wave AS number, count(*) AS tenant_count,
                           count(*) FILTER (WHERE t.state = 'done') AS done_count,
                           count(*) FILTER (WHERE t.state = 'failed') AS failed_count,
                           count(*) FILTER (WHERE t.state = 'skipped') AS skipped_count
                      FROM rollout_tenants AS t
                     WHERE t.rollout_id = o.id
                     GROUP BY wave
                   ) AS w) AS waves
      FROM operations AS o JOIN rollouts AS r USING (id)
"""


async def lock(connection: Connection) -> None:
    """Let nobody else create a rollout until the transaction ends."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('rollouts', 0))")


async def insert(
    connection: Connection,
    rollout_id: str,
    targets: Mapping[str, int],
    failure_budget: int,
    concurrency: int,
) -> None:
    """Insert what an operation applies."""
    await connection.execute(
        """
        INSERT INTO rollouts (id, targets, failure_budget, concurrency)
        VALUES ($1, $2::jsonb, $3, $4)
        """,
        UUID(rollout_id),
        json.dumps(dict(targets)),
        failure_budget,
        concurrency,
    )


async def find(connection: Connection, rollout_id: str) -> RolloutRecord | None:
    """Return a rollout; None also for what is no id."""
    try:
        found = UUID(rollout_id)
    except ValueError:
        return None
    row = await connection.fetchrow(f"{_ROLLOUTS} WHERE o.id = $1", found)
    return None if row is None else _record(row)


async def unfinished(connection: Connection) -> str | None:
    """Return the id of the rollout that is running or paused, if there is one.

    One whose waves are over is none: it looks whether another is to follow, and may have looked.
    """
    found = await connection.fetchval(
        """
        SELECT id FROM operations
         WHERE kind = $1 AND state IN ('running', 'failed') AND step <> $2
        """,
        OperationKind.ROLLOUT.value,
        WAVES,
    )
    return None if found is None else str(found)


async def set_failure_budget(connection: Connection, rollout_id: str, failure_budget: int) -> None:
    await connection.execute(
        "UPDATE rollouts SET failure_budget = $2 WHERE id = $1", UUID(rollout_id), failure_budget
    )


async def page(connection: Connection, size: int, token: str) -> paging.Page[RolloutRecord]:
    """Return one page of rollouts, the newest first."""
    limit = size or paging.DEFAULT_SIZE
    after = paging.decode(token, datetime, UUID)
    rows = await connection.fetch(
        f"""
        {_ROLLOUTS}
         WHERE $1::timestamptz IS NULL OR (o.created_at, o.id) < ($1, $2::uuid)
         ORDER BY o.created_at DESC, o.id DESC
         LIMIT $3
        """,
        *(after or (None, None)),
        limit + 1,
    )
    return paging.page(rows, limit, _record, "created_at", "id")


def _record(row: asyncpg.Record) -> RolloutRecord:
    return RolloutRecord(
        operation=operations.from_row(row),
        targets=json.loads(row["targets"]),
        failure_budget=row["failure_budget"],
        concurrency=row["concurrency"],
        waves=tuple(RolloutWave(**wave) for wave in json.loads(row["waves"])),
    )
