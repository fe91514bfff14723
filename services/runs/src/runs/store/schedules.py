"""The table `schedules`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast
from uuid import UUID, uuid4

import paging
from runs.domain.inputs import Inline, Pointer, from_stored_json, run_input
from runs.domain.models import model_choice
from runs.domain.schedules import Overlap, Schedule, ScheduleSpec, Times
from runs.store import rows

if TYPE_CHECKING:
    from datetime import datetime

    import asyncpg

    from dataplane.pools import Connection
    from jsonvalues import JsonMapping
    from runs.domain.runs import Failure

COLUMNS = """
    schedule_id, name, pipeline, pipeline_version, cron, every_seconds, time_zone, time_member,
    overlap, catch_up_seconds, config, paused, pause_reason, generation, applied_generation,
    last_time, last_run_id, error, user_id, created_at, updated_at
"""
_SPEC = """
    pipeline, pipeline_version, cron, every_seconds, time_zone, time_member, overlap,
    catch_up_seconds, config, digest
"""


async def insert(
    connection: Connection,
    tenant_id: str,
    name: str,
    spec: ScheduleSpec,
    request_id: str,
    user_id: str,
    *,
    paused: bool,
) -> Schedule | None:
    """Insert a schedule; None if its name, or the request's id, is taken."""
    return await _one(
        connection,
        f"""
        INSERT INTO schedules (schedule_id, tenant_id, name, paused, request_id, request_digest,
                               user_id, {_SPEC})
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16::jsonb, $17)
        ON CONFLICT DO NOTHING
        RETURNING {COLUMNS}
        """,
        *(uuid4(), tenant_id, name, paused, request_id, spec.digest, user_id),
        *_spec_values(spec),
    )


async def find_by_request(connection: Connection, request_id: str) -> tuple[Schedule, str] | None:
    """Return what a request created, and the request's digest."""
    sql = f"SELECT {COLUMNS}, request_digest FROM schedules WHERE request_id = $1"
    row = await connection.fetchrow(sql, request_id)
    return None if row is None else (schedule(row), row["request_digest"])


async def find(connection: Connection, name: str) -> Schedule | None:
    """Return the schedule of a name."""
    sql = f"SELECT {COLUMNS} FROM schedules WHERE name = $1 AND NOT deleted"
    return await _one(connection, sql, name)


async def find_own(connection: Connection, tenant_id: str, schedule_id: str) -> Schedule | None:
    """Return a schedule by its id; None if it is deleted, or a copy of another tenant's."""
    sql = f"SELECT {COLUMNS} FROM schedules WHERE schedule_id = $1 AND tenant_id = $2"
    return await _one(connection, f"{sql} AND NOT deleted", UUID(schedule_id), tenant_id)


async def page(connection: Connection, size: int, token: str) -> paging.Page[Schedule]:
    """Return one page of schedules, by name."""
    limit = size or paging.DEFAULT_SIZE
    where, values = paging.where(
        ("deleted = {}::text::bool", "false"), ("name > {}", paging.decode(token, str))
    )
    found = f"SELECT {COLUMNS} FROM schedules {where} ORDER BY name LIMIT ${len(values) + 1}"
    size_of = "octet_length(config::text)"
    fetched = await connection.fetch(
        paging.within_bytes(found, "name", size_of, paging.JSON_PAGE_BYTES), *values, limit + 1
    )
    return paging.page_within_bytes(fetched, limit, schedule, "name")


async def replace_spec(
    connection: Connection, name: str, spec: ScheduleSpec, user_id: str
) -> Schedule | None:
    """Replace what a schedule does; None if there is none, or it does that already."""
    values = ", ".join(f"${number}" for number in range(3, 13)).replace("$11", "$11::jsonb")
    return await _one(
        connection,
        f"""
        UPDATE schedules
           SET ({_SPEC}) = ({values}), user_id = $2, generation = generation + 1,
               updated_at = now()
         WHERE name = $1 AND NOT deleted AND (digest, user_id) IS DISTINCT FROM ($12, $2)
        RETURNING {COLUMNS}
        """,
        *(name, user_id),
        *_spec_values(spec),
    )


async def set_paused(
    connection: Connection, tenant_id: str, name: str, *, paused: bool, reason: str
) -> Schedule | None:
    """Pause or resume a schedule; None if there is none, or it is that already.

    A copy of another tenant's becomes this tenant's own.
    """
    return await _one(
        connection,
        f"""
        UPDATE schedules
           SET paused = $3, pause_reason = $4, tenant_id = $2, generation = generation + 1,
               updated_at = now()
         WHERE name = $1 AND NOT deleted
           AND (paused, pause_reason, tenant_id) IS DISTINCT FROM ($3, $4, $2)
        RETURNING {COLUMNS}
        """,
        *(name, tenant_id, paused, reason),
    )


async def mark_deleted(connection: Connection, name: str) -> str | None:
    """Have a schedule deleted once Temporal has deleted it; return its id, None without one."""
    found = await connection.fetchval(
        """
        UPDATE schedules SET deleted = true, generation = generation + 1
         WHERE name = $1 AND NOT deleted
        RETURNING schedule_id
        """,
        name,
    )
    return None if found is None else str(found)


async def note_run(
    connection: Connection,
    schedule_id: str,
    time: datetime,
    run_id: str | None,
    error: Failure | None = None,
) -> None:
    """Record what became of a time, unless a later one is recorded."""
    await connection.execute(
        """
        UPDATE schedules SET last_time = $2, last_run_id = $3, error = $4::jsonb
         WHERE schedule_id = $1 AND (last_time IS NULL OR last_time <= $2)
        """,
        UUID(schedule_id),
        time,
        None if run_id is None else UUID(run_id),
        None if error is None else rows.failure_json(error),
    )


async def _one(connection: Connection, sql: str, *values: object) -> Schedule | None:
    row = await connection.fetchrow(sql, *values)
    return None if row is None else schedule(row)


def _spec_values(spec: ScheduleSpec) -> tuple[object, ...]:
    return (
        spec.pipeline,
        spec.version,
        spec.times.cron,
        spec.times.every_seconds,
        spec.times.time_zone,
        spec.time_member,
        spec.overlap.value,
        spec.catch_up_seconds,
        json.dumps(spec.config, ensure_ascii=False),
        spec.digest,
    )


def schedule(row: asyncpg.Record) -> Schedule:
    """Return the schedule of a row with COLUMNS."""
    return Schedule(
        name=row["name"],
        schedule_id=str(row["schedule_id"]),
        spec=_spec(row),
        paused=row["paused"],
        pause_reason=row["pause_reason"],
        generation=row["generation"],
        delivered=row["applied_generation"] == row["generation"],
        last_time=row["last_time"],
        last_run_id="" if row["last_run_id"] is None else str(row["last_run_id"]),
        error=rows.failure(row),
        user_id=row["user_id"],
        create_time=row["created_at"],
        update_time=row["updated_at"],
    )


def _spec(row: asyncpg.Record) -> ScheduleSpec:
    config = rows.document(row["config"])
    given = run_input(config)
    assert isinstance(given, (Inline, Pointer))  # noqa: S101 - the contract knows no other
    return ScheduleSpec(
        pipeline=row["pipeline"],
        version=row["pipeline_version"],
        times=Times(row["cron"], row["every_seconds"], row["time_zone"]),
        input=given,
        time_member=row["time_member"],
        overlap=Overlap(row["overlap"]),
        catch_up_seconds=row["catch_up_seconds"],
        step_models={step: model_choice(one) for step, one in config["step_models"].items()},
        settings=cast("JsonMapping", from_stored_json(config, "settings")),
    )
