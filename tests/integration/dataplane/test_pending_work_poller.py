"""Tenants with pending work are polled by one process, also after an outage."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest
from tests.integration.dataplane.registry import until, until_known
from tests.integration.dataplane.work_tables import add_tenant

from dataplane import pending_work
from dataplane.pending_work_scheduler import PendingWorkScheduler
from nagaya.tenant.v1 import tenant_pb2
from servicekit.errors import Conflict

if TYPE_CHECKING:
    from tests.integration.dataplane.work_tables import Tables


async def nothing_left(_: str) -> None:
    return None


async def test_a_due_tenant_is_handled_by_one_process(tables: Tables) -> None:
    handled: list[str] = []

    async def handle(tenant_id: str) -> None:
        handled.append(tenant_id)

    await tables.scheduler.schedule("acme")
    pollers = [tables.poller(handle) for _ in range(3)]
    assert sum(await asyncio.gather(*(poller.poll() for poller in pollers))) == 0
    await tables.make_due()
    assert sum(await asyncio.gather(*(poller.poll() for poller in pollers))) == 1

    assert handled == ["acme"]


async def test_a_tenant_without_work_is_polled_until_its_row_has_settled_and_then_daily(
    tables: Tables,
) -> None:
    await tables.scheduler.schedule("acme")
    due: list[float] = []
    for noted_seconds_ago in (0, 60, 200):
        await tables.make_due(noted_seconds_ago=noted_seconds_ago)
        await tables.poller(nothing_left).poll()
        due.append((await tables.rows())["acme"])

    last_due, settled, idle = due
    assert tables.was_due_in(last_due, 15)  # rewrite_seconds and delay_seconds
    assert tables.was_due_in(settled, 60)  # settle_seconds
    assert tables.was_due_in(idle, 86_400)


async def test_a_tenant_with_work_is_polled_when_its_handler_says(tables: Tables) -> None:
    async def handle(_: str) -> float:
        return 40.0

    await tables.scheduler.schedule("acme")
    await tables.make_due()
    await tables.poller(handle).poll()
    with_a_new_row = (await tables.rows())["acme"]
    await tables.make_due(noted_seconds_ago=200)
    await tables.poller(handle).poll()

    assert tables.was_due_in(with_a_new_row, 15)
    assert tables.was_due_in((await tables.rows())["acme"], 40)


@pytest.mark.parametrize("left", [None, 3600.0])
async def test_a_tenant_that_is_scheduled_while_it_is_handled_is_polled_soon(
    tables: Tables, left: float | None
) -> None:
    another_process = PendingWorkScheduler(
        tables.table, tables.data.tenants, tables.data.management
    )

    async def handle(tenant_id: str) -> float | None:
        await another_process.schedule(tenant_id)
        return left

    await tables.scheduler.schedule("acme")
    await tables.make_due(noted_seconds_ago=200)
    await tables.poller(handle).poll()

    assert (await tables.rows())["acme"] <= 5


async def test_a_tenant_that_fails_is_polled_again_and_keeps_no_other_waiting(
    tables: Tables, caplog: pytest.LogCaptureFixture
) -> None:
    for tenant_id in ("globex", "initech"):
        await add_tenant(tables, tenant_id)

    async def handle(tenant_id: str) -> None:
        if tenant_id == "acme":
            raise Conflict("not now")
        if tenant_id == "globex":
            raise RuntimeError("a defect")

    caplog.set_level(logging.INFO)
    for tenant_id in ("acme", "globex", "initech"):
        await tables.scheduler.schedule(tenant_id)
    await tables.make_due(noted_seconds_ago=200)
    assert await tables.poller(handle, retry_seconds=30).poll() == 3

    rows = await tables.rows()
    assert tables.was_due_in(rows["acme"], 30)
    assert tables.was_due_in(rows["globex"], 30)
    assert rows["initech"] > 86_000
    events = {vars(record).get("event") for record in caplog.records}
    assert {"pending_work.postponed", "pending_work.failed"} <= events


async def test_a_tenant_that_is_not_active_is_not_handled_until_it_is_resumed(
    tables: Tables,
) -> None:
    handled: list[str] = []

    async def handle(tenant_id: str) -> None:
        handled.append(tenant_id)

    async with tables.data.management.connection() as connection:
        await pending_work.insert(connection, tables.table, ["acme", "gone"], 0.0)
    tables.registry.tell("acme", tenant_pb2.TENANT_STATE_SUSPENDED, generation=2)
    await until_known(tables.data, "acme", generation=2)
    await tables.make_due(noted_seconds_ago=200)
    poller = tables.poller(handle)
    await poller.poll()

    rows = await tables.rows()
    assert handled == []
    assert tables.was_due_in(rows["acme"], 300)
    assert rows["gone"] > 86_000

    tables.registry.tell("acme", tenant_pb2.TENANT_STATE_ACTIVE, generation=3)
    await until_known(tables.data, "acme", generation=3)
    await poller.poll()
    assert handled == ["acme"]


async def test_every_active_tenant_is_polled_within_a_day_though_it_was_never_scheduled(
    tables: Tables,
) -> None:
    await add_tenant(tables, "globex")
    await tables.poller(nothing_left).poll()

    rows = await tables.rows()
    assert set(rows) == {"acme", "globex"}
    assert all(-1 < due <= 86_400 for due in rows.values())


@pytest.mark.parametrize("poll_all", [True, False])
async def test_after_a_start_every_active_tenant_is_polled_within_minutes_if_calls_schedule_them(
    tables: Tables, *, poll_all: bool
) -> None:
    """The process that ended may have been unable to schedule them, and nobody else knows."""
    await tables.poller(nothing_left).poll()
    await tables.make_due(seconds=50_000.0)

    await tables.poller(nothing_left, poll_all_after_outage=poll_all).poll()

    due = (await tables.rows())["acme"]
    was_polled = due > 86_000
    assert (due <= 600 or was_polled) is poll_all


@pytest.mark.parametrize("poll_all", [True, False])
async def test_after_an_outage_every_active_tenant_is_polled_within_minutes_if_calls_schedule_them(
    tables: Tables, caplog: pytest.LogCaptureFixture, *, poll_all: bool
) -> None:
    poller = tables.poller(nothing_left, poll_all_after_outage=poll_all)
    await poller.poll()
    await tables.make_due(seconds=50_000.0)
    await tables.registry.close_database("")
    poller.start()

    async def events() -> set[object]:
        return {vars(record).get("event") for record in caplog.records}

    async def is_away() -> bool:
        return "pending_work.unavailable" in await events()

    async def is_back() -> bool:
        return "pending_work.recovered" in await events()

    caplog.set_level(logging.INFO)
    try:
        await until(is_away, wanted=True)
        await tables.registry.open_database("")
        await until(is_back, wanted=True)
    finally:
        await poller.stop()

    due = (await tables.rows())["acme"]
    was_polled = due > 86_000
    assert (due <= 600 or was_polled) is poll_all


async def test_a_slow_tenant_keeps_no_other_waiting_and_no_more_run_at_once_than_may(
    tables: Tables,
) -> None:
    names = [f"tenant{number}" for number in range(6)]
    for tenant_id in names:
        await add_tenant(tables, tenant_id)
    released, running, most, handled = asyncio.Event(), 0, 0, list[str]()

    async def handle(tenant_id: str) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if tenant_id == "tenant0":
            await released.wait()
        handled.append(tenant_id)
        running -= 1

    for tenant_id in names:
        await tables.scheduler.schedule(tenant_id)
    await tables.make_due(noted_seconds_ago=200)
    poller = tables.poller(handle, at_once=2)
    poller.start()

    async def count() -> int:
        return len(handled)

    try:
        await until(count, 5)
        assert "tenant0" not in handled
        released.set()
        await until(count, 6)
    finally:
        await poller.stop()
    assert most == 2


async def test_a_poller_that_is_stopped_leaves_its_tenants_to_another(tables: Tables) -> None:
    begun = asyncio.Event()

    async def never_ends(_: str) -> None:
        begun.set()
        await asyncio.Event().wait()

    await tables.scheduler.schedule("acme")
    await tables.make_due(noted_seconds_ago=200)
    poller = tables.poller(never_ends, lease_seconds=30)
    poller.start()
    async with asyncio.timeout(60):
        await begun.wait()
    await poller.stop()

    assert tables.was_due_in((await tables.rows())["acme"], 30)
