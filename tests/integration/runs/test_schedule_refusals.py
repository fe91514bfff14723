"""Schedules that Temporal refuses or has lost, and callers and times that get no runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from google.protobuf.json_format import ParseDict
from tests.support.runs_client import RunsClient, reason
from tests.support.schedules import connect_to, create, deleted_afterwards, get, spec, times
from tests.support.waiting import wait_until

from nagaya.runs.v1 import schedule_pb2
from nagaya.runs.v1 import schedule_service_pb2 as pb
from runs.domain.schedules import temporal_id
from runs.wire.schedules import schedule_spec
from servicekit.errors import (
    Forbidden,
    Unavailable,
)

if TYPE_CHECKING:
    import asyncpg
    from tests.support.runs_service import RunsService

    from interceptor.testing import RunningServer
    from nagaya_local.parts.temporal import TemporalServer
    from runs.api.launcher import Launcher


async def test_the_schedule_shows_what_keeps_a_run_from_being_created(
    service: RunsService, client: RunsClient
) -> None:
    await service.pipeline()
    time = datetime.now(UTC).replace(microsecond=0)
    digest = "0" * 64
    fields = spec(cron="0 3 * * *", pointer={"path": "storage/acme/x/a.json", "digest": digest})
    del fields["inline_json"]
    message = ParseDict(fields, schedule_pb2.ScheduleSpec())
    created = await service.schedules.create(
        "acme", "mine", "nightly", schedule_spec(message), paused=False
    )
    with pytest.raises(Unavailable):  # no artifacts service answers
        await service.scheduled_runs.create("acme", created.schedule_id, time)

    shown = await get(client)

    assert shown.error.reason
    assert shown.last_time.ToDatetime(UTC) == time
    await service.schedules.delete("acme", "nightly")


async def test_a_schedule_that_temporal_refuses_says_so_and_holds_up_nothing(
    service: RunsService, database: asyncpg.Connection, launcher: Launcher
) -> None:
    await service.pipeline()
    made: list[str] = []
    for name in ("one", "two"):
        message = ParseDict(spec(cron="0 3 * * *"), schedule_pb2.ScheduleSpec())
        created = await service.schedules.create(
            "acme", name, name, schedule_spec(message), paused=False
        )
        made.append(created.schedule_id)
    refused, other = sorted(made)  # the one that comes first
    # As of a time zone that only Python knows.
    await database.execute(
        "UPDATE schedules SET time_zone = 'Mars/Olympus' WHERE schedule_id = $1", UUID(refused)
    )
    await database.execute("UPDATE schedules SET generation = generation + 1")

    due = await service.delivery.deliver("acme")

    assert due == timedelta(minutes=5)
    sql = "SELECT applied_generation = generation, error FROM schedules WHERE schedule_id = $1"
    delivered, error = await database.fetchrow(sql, UUID(refused)) or (True, "")
    assert not delivered
    assert "SCHEDULE_INVALID" in error
    assert tuple(await database.fetchrow(sql, UUID(other)) or ()) == (True, None)
    await database.execute("UPDATE schedules SET time_zone = 'UTC'")
    await service.delivery.deliver("acme")
    assert tuple(await database.fetchrow(sql, UUID(refused)) or ()) == (True, None)
    for name in ("one", "two"):
        await service.schedules.delete("acme", name)


async def test_a_backfill_of_a_schedule_that_temporal_has_lost_applies_it_first(
    client: RunsClient,
    database: asyncpg.Connection,
    temporal: TemporalServer,
    schedule_worker: None,
) -> None:
    await client.pipeline()
    async with deleted_afterwards(client, "nightly"):
        await create(client, every_seconds=86_400)
        schedule_id = str(await database.fetchval("SELECT schedule_id FROM schedules"))
        connected = await connect_to(temporal)
        await connected.get_schedule_handle(temporal_id("acme", schedule_id)).delete()
        moment = datetime(2026, 1, 1, tzinfo=UTC)
        request = pb.BackfillScheduleRequest(
            tenant_id="acme", schedule="nightly", request_id="mine"
        )
        request.start_time.FromDatetime(moment)
        request.end_time.FromDatetime(moment)
        await client.schedules.BackfillSchedule(request)

        async def there() -> bool:
            return moment in await times(database)

        await wait_until(there)


async def test_a_schedule_creates_no_runs_for_who_may_not_create_them(
    client: RunsClient, server: RunningServer, database: asyncpg.Connection
) -> None:
    await client.pipeline()
    scope = "schedules.* runs.read pipelines.*"
    limited = RunsClient(server.channel(user_id="eve", tenants=["acme"], scope=scope))
    update = pb.UpdateScheduleRequest(tenant_id="acme", schedule="nightly")
    ParseDict(spec(cron="0 4 * * *"), update.spec)
    resume = pb.ResumeScheduleRequest(tenant_id="acme", schedule="nightly")
    trigger = pb.TriggerScheduleRequest(tenant_id="acme", schedule="nightly", request_id="mine")
    backfill = pb.BackfillScheduleRequest(tenant_id="acme", schedule="nightly", request_id="mine")
    backfill.start_time.FromDatetime(datetime(2026, 1, 1, tzinfo=UTC))
    backfill.end_time.FromDatetime(datetime(2026, 1, 2, tzinfo=UTC))
    async with deleted_afterwards(client, "nightly"):
        made = await create(client, cron="0 3 * * *")
        for call in (
            create(limited, "other", cron="0 3 * * *"),
            limited.schedules.UpdateSchedule(update),
            limited.schedules.ResumeSchedule(resume),
            limited.schedules.TriggerSchedule(trigger),
            limited.schedules.BackfillSchedule(backfill),
        ):
            with pytest.raises(Forbidden) as refusal:
                await call
            assert reason(refusal) == "PERMISSION_DENIED"
            assert refusal.value.metadata["permission"] == "runs.write"
        assert await get(limited) == made
        pause = pb.PauseScheduleRequest(tenant_id="acme", schedule="nightly", reason="too many")
        await limited.schedules.PauseSchedule(pause)
    assert await database.fetchval("SELECT count(*) FROM runs") == 0
    assert await database.fetchval("SELECT count(*) FROM schedule_backfills") == 0
