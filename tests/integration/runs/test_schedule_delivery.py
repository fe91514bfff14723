"""Temporal follows the schedules of the tenants' databases; what makes no sense is refused."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.json_format import ParseDict
from temporalio.service import RPCError
from tests.support.runs_client import RunsClient, reason
from tests.support.runs_service import make_due
from tests.support.schedules import connect_to, create, deleted_afterwards, get, spec
from tests.support.waiting import wait_until

from dataplane.tenants import TenantPools
from nagaya.runs.v1 import schedule_pb2
from nagaya.runs.v1 import schedule_service_pb2 as pb
from runs.api.app.scheduled_runs import ScheduledRuns
from runs.api.relay.reconciler import STALE_AFTER
from runs.domain.schedules import temporal_id
from runs.temporal.schedules_of_tenants import TenantSchedules
from runs.wire.schedules import schedule_spec
from servicekit.errors import (
    AlreadyExists,
    Conflict,
    InvalidInput,
    NotFound,
    TenantNotActive,
)

if TYPE_CHECKING:
    import asyncpg
    from tests.support.runs_service import RunsService

    from nagaya_local.parts.temporal import TemporalServer
    from runs.api.launcher import Launcher
ALL = schedule_pb2.SCHEDULE_OVERLAP_ALLOW_ALL


async def test_while_temporal_is_away_a_relay_tells_it_later(
    service: RunsService,
    unreachable_launcher: Launcher,
    launcher: Launcher,
    temporal: TemporalServer,
    database: asyncpg.Connection,
    registry: asyncpg.Connection,
) -> None:
    await service.pipeline()
    away = service.with_launcher(unreachable_launcher)
    message = ParseDict(spec(cron="0 3 * * *"), schedule_pb2.ScheduleSpec())
    created = await away.schedules.create(
        "acme", "mine", "nightly", schedule_spec(message), paused=False
    )
    assert not created.delivered
    await make_due(database, registry)

    await service.relay(launcher, STALE_AFTER).poll()

    assert await database.fetchval("SELECT applied_generation = generation FROM schedules")
    client = await connect_to(temporal)
    handle = client.get_schedule_handle(temporal_id("acme", created.schedule_id))
    described = await handle.describe()
    assert described.schedule.policy.catchup_window == timedelta(hours=1)
    await away.schedules.delete("acme", "nightly")
    await make_due(database, registry)
    await service.relay(launcher, STALE_AFTER).poll()
    assert await database.fetchval("SELECT count(*) FROM schedules") == 0


async def test_a_schedule_that_no_row_knows_is_deleted_at_its_next_time(
    client: RunsClient,
    database: asyncpg.Connection,
    temporal: TemporalServer,
    schedule_worker: None,
) -> None:
    await client.pipeline()
    await create(client)
    schedule_id = await database.fetchval("DELETE FROM schedules RETURNING schedule_id")
    handle = (await connect_to(temporal)).get_schedule_handle(temporal_id("acme", str(schedule_id)))

    async def gone() -> bool:
        try:
            await handle.describe()
        except RPCError:
            return True
        return False

    await wait_until(gone)


async def test_the_schedule_shows_what_createrun_refuses(
    client: RunsClient, database: asyncpg.Connection, schedule_worker: None
) -> None:
    asks = {"step": "ask", "function": {"function": "copy"}}
    await client.pipeline(asks)
    async with deleted_afterwards(client, "nightly"):
        await create(client, overlap=ALL)
        await database.execute("UPDATE pipelines SET pipeline = 'other'")

        async def failed() -> bool:
            return bool((await get(client)).error.reason)

        await wait_until(failed)
        shown = await get(client)
    assert shown.error.reason == "PIPELINE_NOT_FOUND"
    assert shown.HasField("last_time")


class SuspendedTenants(TenantPools):
    """The registry says that every tenant is suspended."""

    def __init__(self) -> None:
        """Open nothing."""

    async def check(self, tenant_id: str) -> None:
        raise TenantNotActive("the tenant is suspended", state="suspended")


async def test_a_tenant_that_is_suspended_gets_no_runs(service: RunsService) -> None:
    await service.pipeline()
    now = datetime.now(UTC).replace(microsecond=0)
    message = ParseDict(spec(cron="0 3 * * *"), schedule_pb2.ScheduleSpec())
    created = await service.schedules.create(
        "acme", "mine", "nightly", schedule_spec(message), paused=False
    )
    waiting = ScheduledRuns(
        SuspendedTenants(), service.runs, service.steering, service.temporal_schedules
    )

    assert await waiting.create("acme", created.schedule_id, now) == ""
    assert await service.scheduled_runs.create("acme", created.schedule_id, now) != ""
    await service.schedules.delete("acme", "nightly")


async def test_a_copy_of_another_tenants_schedule_is_paused(
    client: RunsClient, service: RunsService, database: asyncpg.Connection
) -> None:
    await client.pipeline()
    async with deleted_afterwards(client, "nightly"):
        await create(client, cron="0 3 * * *")
        await database.execute("UPDATE schedules SET tenant_id = 'origin'")

        await service.delivery.deliver("acme")

        shown = await get(client)
        assert (shown.paused, shown.pause_reason) == (True, "copied from tenant origin")


async def test_a_tenants_schedules_are_removed_from_temporal(
    service: RunsService, temporal: TemporalServer
) -> None:
    await service.pipeline()
    tenant_id, connected = f"t{secrets.token_hex(6)}", await connect_to(temporal)
    message = ParseDict(spec(cron="0 3 * * *"), schedule_pb2.ScheduleSpec())
    made = [
        await service.schedules.create("acme", name, name, schedule_spec(message), paused=False)
        for name in ("nightly", "weekly")
    ]
    for each in made:
        await service.temporal_schedules.apply(tenant_id, each)
    schedules = TenantSchedules(connected)

    async def listed() -> bool:
        return await schedules.count(tenant_id) == 2

    await wait_until(listed)
    assert tenant_id in [one async for one in schedules.tenant_ids()]
    removed = [count async for count in schedules.remove(tenant_id)]

    assert removed[-1] == 2
    assert await schedules.count(tenant_id) == 0
    for each in made:
        schedule_id = temporal_id(tenant_id, each.schedule_id)
        with pytest.raises(RPCError):
            await connected.get_schedule_handle(schedule_id).describe()
        with pytest.raises(RPCError):  # nor is there a history of what has ended
            await connected.get_workflow_handle(f"temporal-sys-scheduler:{schedule_id}").describe()
        await service.schedules.delete("acme", each.name)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"cron": "0 3 * *"}, "cron"),
        ({"cron": "61 3 * * *"}, "cron"),
        ({"cron": "0 3 1 * MON"}, "cron"),
        ({"cron": "0 3 30 2 *"}, "cron"),
        ({"cron": "0 3 L * *"}, "cron"),
        ({"cron": "0 3 * * *", "time_zone": "Mars/Olympus"}, "time_zone"),
        ({"inline_json": "[1]", "time_member": "night"}, "time_member"),
    ],
)
async def test_times_that_cannot_be_used_are_refused(
    client: RunsClient, fields: dict[str, Any], field: str
) -> None:
    await client.pipeline()
    with pytest.raises(InvalidInput) as refusal:
        await create(client, **fields)
    assert reason(refusal) == "SCHEDULE_INVALID"
    assert [one.field for one in refusal.value.violations] == [field]


async def test_a_name_a_request_and_a_pipeline_are_checked(client: RunsClient) -> None:
    await client.pipeline()
    async with deleted_afterwards(client, "nightly"):
        first = await create(client, cron="0 3 * * *", request_id="mine")
        assert await create(client, cron="0 3 * * *", request_id="mine") == first
        with pytest.raises(AlreadyExists) as refusal:
            await create(client, cron="0 4 * * *", request_id="mine")
        assert reason(refusal) == "REQUEST_ID_REUSED"
        with pytest.raises(AlreadyExists) as refusal:
            await create(client, cron="0 3 * * *")
        assert reason(refusal) == "SCHEDULE_EXISTS"
        with pytest.raises(NotFound) as missing:
            await create(client, "other", cron="0 3 * * *", pipeline="nothing")
        assert reason(missing) == "PIPELINE_NOT_FOUND"
        with pytest.raises(NotFound) as missing:
            await get(client, "other")
        assert reason(missing) == "SCHEDULE_NOT_FOUND"


async def test_a_schedule_that_is_replaced_goes_by_its_new_times(client: RunsClient) -> None:
    await client.pipeline()
    async with deleted_afterwards(client, "nightly"):
        before = await create(client, cron="0 3 * * *")
        request = pb.UpdateScheduleRequest(tenant_id="acme", schedule="nightly")
        ParseDict(spec(cron="30 4 * * *", time_zone="Asia/Tokyo"), request.spec)
        after = (await client.schedules.UpdateSchedule(request)).schedule

    assert before.next_times[0].ToDatetime(UTC).hour == 3
    assert [after.next_times[0].ToDatetime(UTC).hour, after.delivered] == [19, True]


@pytest.mark.parametrize(
    ("days", "paused", "expected"),
    [((1, -1), False, "SCHEDULE_INVALID"), ((-2, -5), False, "SCHEDULE_INVALID"),
     ((-4_000, -1), False, "SCHEDULE_INVALID"), ((-3, -1), True, "SCHEDULE_PAUSED")],
    ids=["future", "backwards", "too many", "paused"],
)  # fmt: skip
async def test_a_backfill_that_makes_no_sense_is_refused(
    client: RunsClient, days: tuple[int, int], *, paused: bool, expected: str
) -> None:
    await client.pipeline()
    async with deleted_afterwards(client, "nightly"):
        await create(client, cron="0 3 * * *", paused=paused)
        now = datetime.now(UTC)
        request = pb.BackfillScheduleRequest(
            tenant_id="acme", schedule="nightly", request_id="mine"
        )
        request.start_time.FromDatetime(now + timedelta(days=days[0]))
        request.end_time.FromDatetime(now + timedelta(days=days[1]))
        with pytest.raises((InvalidInput, Conflict)) as refusal:
            await client.schedules.BackfillSchedule(request)
    assert reason(refusal) == expected
