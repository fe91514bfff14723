"""Tenants are scheduled before their work exists; calls go on while that is impossible."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import asyncpg
import pytest
from tests.integration.dataplane.registry import until
from tests.integration.dataplane.work_tables import KINDS, PLAIN, add_tenant

from servicekit.errors import DomainError

if TYPE_CHECKING:
    from tests.integration.dataplane.work_tables import Tables


async def test_a_tenant_is_written_once_for_many_calls(tables: Tables) -> None:
    await add_tenant(tables, "globex")
    schedule = tables.scheduler.schedule
    await asyncio.gather(*(schedule(name) for name in ("acme", "globex") for _ in range(50)))
    written = await tables.versions()
    await schedule("acme")

    assert [tenant_id for tenant_id, _ in written] == ["acme", "globex"]
    assert await tables.versions() == written
    assert all(tables.was_due_in(due, 5) for due in (await tables.rows()).values())


async def test_a_tenant_is_written_again_when_its_row_is_too_old_to_rely_on(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    await tables.scheduler.schedule("acme")
    written, now = await tables.versions(), time.monotonic()
    monkeypatch.setattr("dataplane.pending_work_scheduler.time.monotonic", lambda: now + 11)
    await tables.scheduler.schedule("acme")

    assert await tables.versions() != written


async def test_no_tenant_is_written_that_does_not_exist(tables: Tables) -> None:
    with pytest.raises(DomainError):
        await tables.scheduler.schedule("nobody")

    assert await tables.rows() == {}


async def test_a_defect_is_raised_and_the_next_call_tries_again(tables: Tables) -> None:
    name = tables.table.name
    await tables.registry.execute("", f"ALTER TABLE {name} RENAME TO elsewhere")
    with pytest.raises(asyncpg.UndefinedTableError):
        await tables.scheduler.schedule("acme")
    await tables.registry.execute("", f"ALTER TABLE elsewhere RENAME TO {name}")
    await tables.scheduler.schedule("acme")

    assert list(await tables.rows()) == ["acme"]


async def test_calls_go_on_while_the_management_database_is_away_and_are_scheduled_afterwards(
    tables: Tables, caplog: pytest.LogCaptureFixture
) -> None:
    await add_tenant(tables, "globex")
    await tables.registry.close_database("")
    await tables.scheduler.schedule("acme")
    begun = time.monotonic()
    for _ in range(100):
        await tables.scheduler.schedule("acme")
    await tables.scheduler.schedule("globex")
    others = time.monotonic() - begun
    await tables.registry.open_database("")

    async def written() -> set[str]:
        try:
            return set(await tables.rows())
        except DomainError:  # it has just been opened
            return set()

    await until(written, {"acme", "globex"})
    assert others < 50  # not a second each
    events = [vars(record).get("event") for record in caplog.records]
    assert events.count("pending_work.unavailable") == 1


async def test_calls_wait_a_second_at_most_for_a_table_that_is_locked(tables: Tables) -> None:
    async with tables.data.management.transaction() as connection:
        await connection.execute(f"LOCK TABLE {tables.table.name}")
        begun = time.monotonic()
        await tables.scheduler.schedule("acme")  # returns while the table is locked
        waited = time.monotonic() - begun

    async def tenants() -> list[str]:
        return list(await tables.rows())

    await until(tenants, ["acme"])
    assert 0.9 < waited < 5  # when the statement itself is given up


def test_a_row_is_relied_on_no_longer_than_it_settles() -> None:
    for table in (KINDS, PLAIN, replace(KINDS, delay_seconds=45.0)):
        assert table.last_due_seconds < table.settle_seconds
