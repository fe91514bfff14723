"""Numbers about the whole installation, for metrics: one statement."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataplane.pools import Connection


@dataclass(frozen=True, slots=True)
class RunningOperations:
    """The operations of one kind that have not ended."""

    kind: str
    count: int
    stuck: int
    idle_seconds: float
    """Since it moved or was postponed, of the one for which that is longest."""


@dataclass(frozen=True, slots=True)
class Overview:
    """What the management database tells about the whole installation."""

    tenants: dict[str, int]
    """By state."""
    running: tuple[RunningOperations, ...]
    ended: dict[tuple[str, str], int]
    """Operations that ended within the last hour, by kind and state."""
    schedules: int
    """Of backups, of active tenants."""
    overdue: int
    backup_age: float
    """In seconds; 0 where there is no backup."""
    damaged: int
    rollout_paused: bool
    rollout_tenants: dict[str, int]
    """Of the latest rollout, by state."""
    servers: dict[str, int]
    """The number of tenants, by server."""


async def read(connection: Connection) -> Overview:
    """Return what the management database tells now."""
    row = await connection.fetchrow(_OVERVIEW)
    assert row is not None  # noqa: S101 - it returns one
    backups: dict[str, Any] = json.loads(row["backups"])
    return Overview(
        tenants=json.loads(row["tenants"]),
        running=tuple(RunningOperations(*each) for each in json.loads(row["running"])),
        ended={(kind, state): count for kind, state, count in json.loads(row["ended"])},
        schedules=backups["schedules"],
        overdue=backups["overdue"],
        backup_age=float(backups["age"] or 0.0),
        damaged=row["damaged"],
        rollout_paused=bool(row["rollout_paused"]),
        rollout_tenants=json.loads(row["rollout_tenants"]),
        servers=json.loads(row["servers"]),
    )


_OVERVIEW = """
WITH latest AS (
    SELECT id, state FROM operations WHERE kind = 'rollout' ORDER BY created_at DESC LIMIT 1
),
-- each schedule, with its tenant's last good backup
scheduled AS (
    SELECT s.every, last.snapshot_at,
           CASE WHEN last.snapshot_at IS NULL THEN tried.ended_at IS NOT NULL
                ELSE last.snapshot_at < now() - 2 * s.every END AS overdue
      FROM backup_schedules AS s
      JOIN tenants AS t ON t.id = s.tenant_id AND t.is_active
      LEFT JOIN operations AS tried ON tried.id = s.last_operation_id
      LEFT JOIN LATERAL (
           SELECT max(snapshot_at) AS snapshot_at FROM backups
            WHERE tenant_id = s.tenant_id AND state = 'complete' AND kind <> 'clone'
           ) AS last ON true
)
SELECT (SELECT coalesce(json_object_agg(state, number), '{}')
          FROM (SELECT state, count(*) AS number FROM tenants GROUP BY state) AS each
       ) AS tenants,
       (SELECT coalesce(json_agg(json_build_array(kind, number, stuck, idle)), '[]')
          FROM (SELECT kind, count(*) AS number, count(nullif(stuck_reason, '')) AS stuck,
                       extract(epoch FROM now() - min(updated_at)) AS idle
                  FROM operations WHERE state = 'running' GROUP BY kind) AS each
       ) AS running,
       (SELECT coalesce(json_agg(json_build_array(kind, state, number)), '[]')
          FROM (SELECT kind, state, count(*) AS number FROM operations
                 WHERE created_at > now() - interval '2 days'
                   AND ended_at > now() - interval '1 hour'
                 GROUP BY kind, state) AS each
       ) AS ended,
       (SELECT json_build_object(
                   'schedules', count(*), 'overdue', count(*) FILTER (WHERE overdue),
                   'age', extract(epoch FROM now() - min(snapshot_at)))
          FROM scheduled
       ) AS backups,
       (SELECT count(*) FROM backups WHERE verification = 'failed') AS damaged,
       (SELECT state = 'failed' FROM latest) AS rollout_paused,
       (SELECT coalesce(json_object_agg(state, number), '{}')
          FROM (SELECT rt.state, count(*) AS number
                  FROM rollout_tenants AS rt JOIN latest ON latest.id = rt.rollout_id
                 GROUP BY rt.state) AS each
       ) AS rollout_tenants,
       (SELECT coalesce(json_object_agg(id, number), '{}')
          FROM (SELECT s.id, count(t.id) AS number
                  FROM db_servers AS s LEFT JOIN tenants AS t ON t.server_id = s.id
                 GROUP BY s.id) AS each
       ) AS servers
"""
