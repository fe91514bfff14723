"""What Temporal is still to be told: of the tables `schedules` and `schedule_backfills`."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from runs.domain.schedules import Backfill, Overlap
from runs.store import rows
from runs.store.schedules import COLUMNS, schedule

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from dataplane.pools import Connection
    from runs.domain.runs import Failure
    from runs.domain.schedules import Schedule


async def any_schedules(connection: Connection) -> bool:
    """Return whether there are any, those that are being deleted included."""
    return await connection.fetchval("SELECT EXISTS (SELECT FROM schedules)")


async def pause_copies(connection: Connection, tenant_id: str) -> None:
    """Pause what was copied with another tenant's database: it would do everything twice."""
    await connection.execute(
        """
        UPDATE schedules
           SET paused = true, pause_reason = 'copied from tenant ' || tenant_id, tenant_id = $1,
               generation = generation + 1, updated_at = now()
         WHERE tenant_id <> $1
        """,
        tenant_id,
    )


async def undelivered(
    connection: Connection, again_after: timedelta
) -> list[tuple[str, Schedule | None]]:
    """Return what Temporal does not follow, or was told so long ago that it may have lost it.

    Each with its id; None for one that is deleted.
    """
    found = await connection.fetch(
        f"""
        SELECT {COLUMNS}, deleted FROM schedules
         WHERE deleted OR applied_generation < generation OR applied_at < now() - $1::interval
         ORDER BY schedule_id
        """,
        again_after,
    )
    return [(str(row["schedule_id"]), None if row["deleted"] else schedule(row)) for row in found]


async def note_applied(connection: Connection, schedule_id: str, generation: int) -> bool:
    """Record that Temporal follows a generation; False if there is another one by now."""
    found = await connection.fetchval(
        """
        UPDATE schedules
           SET applied_generation = $2, applied_at = now(),
               error = CASE WHEN error ->> 'reason' <> 'SCHEDULE_INVALID' THEN error END
         WHERE schedule_id = $1 AND generation = $2
        RETURNING true
        """,
        UUID(schedule_id),
        generation,
    )
    return bool(found)


async def note_refused(connection: Connection, schedule_id: str, failure: Failure) -> None:
    """Record that Temporal refuses what the schedule is, until it takes it."""
    sql = "UPDATE schedules SET error = $2::jsonb WHERE schedule_id = $1"
    await connection.execute(sql, UUID(schedule_id), rows.failure_json(failure))


async def next_due(connection: Connection, again_after: timedelta) -> timedelta | None:
    """Return in how long a schedule is due to be told again; None without schedules."""
    sql = "SELECT min(applied_at) + $1::interval - now() FROM schedules WHERE NOT deleted"
    return await connection.fetchval(sql, again_after)


async def insert_backfill(
    connection: Connection, schedule_id: str, request_id: str, start: datetime, end: datetime
) -> bool:
    """Insert a backfill. Returns False if the request was made before with other content."""
    await connection.execute(
        """
        INSERT INTO schedule_backfills (schedule_id, request_id, start_time, end_time)
        VALUES ($1, $2, $3, $4)
        ON CONFLICT (request_id) DO NOTHING
        """,
        UUID(schedule_id),
        request_id,
        start,
        end,
    )
    return await connection.fetchval(
        """
        SELECT (schedule_id, start_time, end_time) = ($1, $3, $4)
          FROM schedule_backfills WHERE request_id = $2
        """,
        UUID(schedule_id),
        request_id,
        start,
        end,
    )


async def undelivered_backfills(connection: Connection) -> list[Backfill]:
    """Return the backfills of which Temporal is still to be told."""
    found = await connection.fetch(
        """
        SELECT backfill_id, schedule_id, start_time, end_time, overlap
          FROM schedule_backfills
          JOIN schedules USING (schedule_id)
         WHERE NOT delivered AND NOT deleted AND applied_generation = generation
         ORDER BY backfill_id
        """
    )
    return [
        Backfill(
            row["backfill_id"],
            str(row["schedule_id"]),
            row["start_time"],
            row["end_time"],
            Overlap(row["overlap"]),
        )
        for row in found
    ]


async def note_delivered(connection: Connection, backfill_id: int) -> None:
    """Record that Temporal has been told of a backfill."""
    sql = "UPDATE schedule_backfills SET delivered = true WHERE backfill_id = $1"
    await connection.execute(sql, backfill_id)


async def delete(connection: Connection, schedule_id: str) -> None:
    """Delete the row of a schedule that was marked."""
    sql = "DELETE FROM schedules WHERE schedule_id = $1 AND deleted"
    await connection.execute(sql, UUID(schedule_id))
