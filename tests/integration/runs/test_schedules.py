"""Schedules create a run at each of their times, and no second one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from google.protobuf.json_format import ParseDict
from tests.support import audit_log
from tests.support.schedules import create, deleted_afterwards, get, spec, times
from tests.support.waiting import wait_until

from nagaya.runs.v1 import schedule_pb2
from nagaya.runs.v1 import schedule_service_pb2 as pb
from runs.domain.runs import RunStatus
from runs.store import run_transitions
from runs.wire.schedules import schedule_spec

if TYPE_CHECKING:
    import asyncpg
    from tests.support.runs_client import RunsClient
    from tests.support.runs_service import RunsService

ALL = schedule_pb2.SCHEDULE_OVERLAP_ALLOW_ALL
CANCEL = schedule_pb2.SCHEDULE_OVERLAP_CANCEL_OTHER


async def test_each_time_gets_one_run_with_the_time_in_its_input(
    client: RunsClient, database: asyncpg.Connection, schedule_worker: None
) -> None:
    await client.pipeline()
    async with deleted_afterwards(client, "nightly"):
        created = await create(client, overlap=ALL, time_member="night")

        async def enough() -> bool:
            return len(await times(database)) >= 3

        await wait_until(enough)

    assert created.delivered
    found = await times(database)
    assert [one.microsecond for one in found] == [0] * len(found)
    assert len({*found}) == len(found)
    row = await database.fetchrow("SELECT * FROM runs ORDER BY schedule_time LIMIT 1")
    assert row is not None
    assert (row["schedule"], row["user_id"]) == ("nightly", "ada")
    assert f'"night": "{found[0]:%Y-%m-%dT%H:%M:%SZ}"' in row["config"]
    run = await client.get(str(row["id"]))
    assert (run.schedule, run.schedule_time.ToDatetime(UTC)) == ("nightly", found[0])


async def test_while_a_run_has_not_ended_further_times_are_left_out(
    client: RunsClient, database: asyncpg.Connection, service: RunsService, schedule_worker: None
) -> None:
    await client.pipeline()
    async with deleted_afterwards(client, "nightly"):
        await create(client)

        async def has_run() -> bool:
            return len(await times(database)) == 1

        await wait_until(has_run)
        first = (await times(database))[0]
        past = datetime.now(UTC) + timedelta(seconds=2.5)

        async def later() -> bool:
            return datetime.now(UTC) > past

        await wait_until(later)
        assert await times(database) == [first]
        await end_all(service, database)

        async def has_next() -> bool:
            return len(await times(database)) == 2

        await wait_until(has_next)


async def test_a_run_that_is_in_the_way_can_be_cancelled(
    client: RunsClient, database: asyncpg.Connection, schedule_worker: None
) -> None:
    await client.pipeline()
    async with deleted_afterwards(client, "nightly"):
        await create(client, overlap=schedule_pb2.SCHEDULE_OVERLAP_CANCEL_OTHER)

        async def second() -> bool:
            return len(await times(database)) >= 2

        await wait_until(second)
    statuses = await database.fetch("SELECT status FROM runs ORDER BY schedule_time")
    assert statuses[0]["status"] == "cancelled"


async def test_times_that_have_passed_are_made_up_once(
    client: RunsClient, database: asyncpg.Connection, schedule_worker: None
) -> None:
    await client.pipeline()
    async with deleted_afterwards(client, "nightly"):
        await create(client, every_seconds=86_400, overlap=ALL)
        start = datetime(2026, 1, 1, tzinfo=UTC)
        for request_id in ("one", "one", "two"):
            request = pb.BackfillScheduleRequest(
                tenant_id="acme", schedule="nightly", request_id=request_id
            )
            request.start_time.FromDatetime(start)
            request.end_time.FromDatetime(start + timedelta(days=4))
            answer = await client.schedules.BackfillSchedule(request)
            assert answer.time_count == 5

        async def all_there() -> bool:
            return len(await times(database)) == 5

        await wait_until(all_there)
        await no_more_tasks(client, database)
    assert await times(database) == [start + timedelta(days=day) for day in range(5)]


async def backfill(client: RunsClient, start: datetime, end: datetime) -> int:
    request = pb.BackfillScheduleRequest(tenant_id="acme", schedule="nightly", request_id="mine")
    request.start_time.FromDatetime(start)
    request.end_time.FromDatetime(end)
    return (await client.schedules.BackfillSchedule(request)).time_count


async def test_by_default_times_that_have_passed_get_their_runs_one_after_another(
    client: RunsClient, database: asyncpg.Connection, service: RunsService, schedule_worker: None
) -> None:
    await client.pipeline()
    wanted = [datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2, 3)]
    async with deleted_afterwards(client, "nightly"):
        await create(client, every_seconds=86_400)
        assert await backfill(client, wanted[0], wanted[-1]) == 3
        await has_last(service, database, wanted[-1])
    assert await times(database) == wanted


@pytest.mark.parametrize(
    ("zone", "hour", "wanted"),
    [
        ("Europe/Berlin", 2, [(10, 24, 0), (10, 25, 0), (10, 26, 1)]),
        ("America/New_York", 1, [(10, 31, 5), (11, 1, 5), (11, 2, 6)]),
        ("Europe/Berlin", 2, [(3, 28, 1), (3, 30, 0)]),
    ],
    ids=["Temporal comes to the second", "Temporal comes to both", "does not exist"],
)
async def test_a_local_time_has_one_run_when_clocks_go_back_and_none_when_it_does_not_exist(
    client: RunsClient,
    database: asyncpg.Connection,
    service: RunsService,
    schedule_worker: None,
    zone: str,
    hour: int,
    wanted: list[tuple[int, int, int]],
) -> None:
    await client.pipeline()
    expected = [datetime(2026, *time, 30, tzinfo=UTC) for time in wanted]
    async with deleted_afterwards(client, "nightly"):
        await create(client, cron=f"30 {hour} * * *", time_zone=zone)
        assert await backfill(client, expected[0], expected[-1]) == len(expected)
        await has_last(service, database, expected[-1])  # Temporal keeps their order
    assert await times(database) == expected


async def test_a_run_that_the_second_of_two_equal_local_times_cancels_is_created_again(
    service: RunsService,
) -> None:
    await service.pipeline()
    fields = {"cron": "30 1 * * *", "time_zone": "America/New_York"}
    message = ParseDict(spec(**fields, overlap=CANCEL), schedule_pb2.ScheduleSpec())
    made = await service.schedules.create(
        "acme", "mine", "nightly", schedule_spec(message), paused=False
    )
    time = datetime(2026, 11, 1, 5, 30, tzinfo=UTC)
    first = await service.scheduled_runs.create("acme", made.schedule_id, time)
    second = time + timedelta(hours=1)
    assert await service.scheduled_runs.create("acme", made.schedule_id, second) == first

    await service.steering.cancel("acme", first)

    other = await service.scheduled_runs.create("acme", made.schedule_id, second)
    assert other != first
    assert await service.scheduled_runs.create("acme", made.schedule_id, second) == other
    await service.schedules.delete("acme", "nightly")


async def has_last(service: RunsService, database: asyncpg.Connection, last: datetime) -> None:
    """End each run as it comes, never two at once, until that of the last time is there."""

    async def there() -> bool:
        sql = "SELECT count(*) FROM runs WHERE status = 'pending'"
        assert await database.fetchval(sql) <= 1
        await end_all(service, database)
        return last in await times(database)

    await wait_until(there, seconds=60)


async def no_more_tasks(client: RunsClient, database: asyncpg.Connection) -> None:
    """Wait until what was asked for before is done: a later backfill comes after it."""
    moment = datetime(2026, 3, 1, tzinfo=UTC)
    request = pb.BackfillScheduleRequest(tenant_id="acme", schedule="nightly", request_id="last")
    request.start_time.FromDatetime(moment)
    request.end_time.FromDatetime(moment)
    await client.schedules.BackfillSchedule(request)

    async def there() -> bool:
        return moment in await times(database)

    await wait_until(there)
    await database.execute(
        "DELETE FROM run_events USING runs WHERE run_id = id AND schedule_time = $1", moment
    )
    await database.execute(
        "DELETE FROM outbox USING runs WHERE run_id = runs.id AND schedule_time = $1", moment
    )
    await database.execute("DELETE FROM runs WHERE schedule_time = $1", moment)


async def test_a_schedule_that_is_triggered_creates_one_run_for_each_request(
    client: RunsClient, database: asyncpg.Connection
) -> None:
    await client.pipeline()
    async with deleted_afterwards(client, "nightly"):
        await create(client, cron="0 3 * * *", time_zone="Asia/Tokyo", paused=True)
        request = pb.TriggerScheduleRequest(tenant_id="acme", schedule="nightly", request_id="mine")
        first = (await client.schedules.TriggerSchedule(request)).run
        again = (await client.schedules.TriggerSchedule(request)).run
        request.request_id = "another"
        other = (await client.schedules.TriggerSchedule(request)).run
        shown = await get(client)

    assert first.run_id == again.run_id != other.run_id
    assert first.schedule == "nightly"
    assert (shown.paused, shown.last_run_id, list(shown.next_times)) == (True, other.run_id, [])
    await audit_log.chain(database)
    actions = await database.fetch("SELECT action FROM audit_logs ORDER BY id")
    assert [row["action"] for row in actions].count("schedule.trigger") == 2


async def test_a_paused_schedule_creates_nothing_until_it_is_resumed(
    client: RunsClient, database: asyncpg.Connection, schedule_worker: None
) -> None:
    await client.pipeline()
    async with deleted_afterwards(client, "nightly"):
        await create(client, overlap=ALL, paused=True)
        resume = pb.ResumeScheduleRequest(tenant_id="acme", schedule="nightly")
        resumed = (await client.schedules.ResumeSchedule(resume)).schedule
        began = resumed.update_time.ToDatetime(UTC)

        async def some() -> bool:
            return bool(await times(database))

        await wait_until(some)
        pause = pb.PauseScheduleRequest(tenant_id="acme", schedule="nightly", reason="holidays")
        paused = (await client.schedules.PauseSchedule(pause)).schedule
    assert (paused.paused, paused.pause_reason, paused.delivered) == (True, "holidays", True)
    assert (await times(database))[0] >= began.replace(microsecond=0)


async def end_all(service: RunsService, database: asyncpg.Connection) -> None:
    """Give every open run its final status, as its workflow would."""
    rows = await database.fetch("SELECT id FROM runs WHERE status = 'pending'")
    for row in rows:
        run_id, failed = str(row["id"]), RunStatus.FAILED
        async with service.tenants.transaction("acme") as connection:
            assert await run_transitions.finish(connection, run_id, 1, failed) is not None
