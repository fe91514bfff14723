"""The pass that chains what has been appended, as every process has it."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from typing import TYPE_CHECKING

import asyncpg
import pytest
from tests.support.databases import TenantDatabases
from tests.support.waiting import wait_until

from dataplane import audit, audit_chainer
from dataplane.audit_chainer import AuditChainer
from dataplane.databases import MANAGEMENT, Databases
from dataplane.tenants import ManagementPool, TenantPools
from monitoring.metrics import AUDIT_CHAINED
from servicekit.call import acting_as
from servicekit.errors import TenantNotActive
from servicekit.identity import Principal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from dataplane.connection_parameters import ConnectionParameters
    from nagaya_local.parts.postgres import PostgresServer

ADA = Principal("ada", None, frozenset({"*"}), frozenset({"*"}))
TENANTS = ("acme", "globex")
BROKEN = """
    SELECT count(*) FROM (
        SELECT sequence, digest,
               audit_digest(lag(digest, 1, repeat('0', 64)) OVER log, audit_logs) AS computed,
               lag(sequence, 1, 0::bigint) OVER log AS previous
          FROM audit_logs WINDOW log AS (ORDER BY sequence)) AS entry
     WHERE digest <> computed OR sequence <> previous + 1
"""


class Process:
    """What a process of a service has: pools, and the chainer that follows their use."""

    def __init__(self, made: TenantDatabases) -> None:
        self.databases = Databases(made.resolve, made.service, 10)
        self.chainer = AuditChainer(self.databases)
        self.tenants = TenantPools(self.databases)
        self.management = ManagementPool(self.databases)

    async def append(self, tenant_id: str, resource_id: str) -> None:
        with acting_as(ADA):
            pools = self.tenants
            lease = pools.transaction(tenant_id) if tenant_id else self.management.transaction()
            async with lease as connection:
                await audit.append(connection, "prompt.create", "prompt", resource_id)

    async def use(self, tenant_id: str) -> None:
        async with self.tenants.connection(tenant_id) as connection:
            await connection.execute("SELECT 1")

    async def stop(self) -> None:
        await self.chainer.stop()
        self.databases.close()
        await self.databases.settled()


class Log:
    """A database's audit log, as its superuser sees it."""

    def __init__(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        self.connection = connection

    async def unchained(self) -> int:
        found: int = await self.connection.fetchval("SELECT count(*) FROM audit_unchained")
        return found

    async def is_chained(self) -> bool:
        return await self.unchained() == 0

    async def resources(self) -> list[str]:
        assert await self.connection.fetchval(BROKEN) == 0
        rows = await self.connection.fetch("SELECT resource_id FROM audit_logs ORDER BY sequence")
        return [row["resource_id"] for row in rows]


@pytest.fixture
async def made(postgres: PostgresServer) -> AsyncIterator[TenantDatabases]:
    made = await TenantDatabases.create(postgres, "runs", *TENANTS)
    yield made
    await made.drop()


@pytest.fixture
async def process(made: TenantDatabases) -> AsyncIterator[Process]:
    process = Process(made)
    yield process
    await process.stop()


@pytest.fixture
async def log(made: TenantDatabases) -> AsyncIterator[Log]:
    connection = await asyncpg.connect(made.superuser_url("acme"))
    yield Log(connection)
    await connection.close()


async def test_what_a_process_appends_is_chained_in_the_background(
    made: TenantDatabases, process: Process
) -> None:
    for database in (*TENANTS, MANAGEMENT):
        await process.append(database, "outline/1")

    for database in (*TENANTS, MANAGEMENT):
        connection = await asyncpg.connect(made.superuser_url(database))
        await wait_until(Log(connection).is_chained)
        assert await Log(connection).resources() == ["outline/1"]
        await connection.close()


async def test_the_last_pass_is_at_the_end_of_the_process(
    made: TenantDatabases, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_chainer, "_FIRST_SECONDS", 600.0)  # so that none comes before
    process = Process(made)
    for number in range(3):
        await process.append("acme", str(number))
    assert await log.unchained() == 3
    await process.stop()

    assert await log.resources() == ["0", "1", "2"]


async def test_what_a_killed_process_left_is_chained_by_the_next_that_uses_the_database(
    made: TenantDatabases, process: Process, log: Log
) -> None:
    script = "tests.integration.dataplane.killed_writer"
    killed = await asyncio.create_subprocess_exec(sys.executable, "-m", script, made.encode(), "5")
    assert await killed.wait() == -signal.SIGKILL
    assert await log.unchained() > 0
    await process.use("acme")

    await wait_until(log.is_chained)
    assert await log.resources() == ["0", "1", "2", "3", "4"]


async def test_two_processes_chain_each_entry_once(
    made: TenantDatabases, process: Process, log: Log
) -> None:
    other = Process(made)

    async def write(process: Process, writer: int) -> None:
        for number in range(60):
            await process.append("acme", f"{writer}/{number}")
            if number % 20 == 0:
                await asyncio.sleep(0.3)  # so that passes come between the entries

    await asyncio.gather(*(write((process, other)[n % 2], n) for n in range(6)))
    await wait_until(log.is_chained)
    await other.stop()

    assert sorted(await log.resources()) == sorted(f"{n // 60}/{n % 60}" for n in range(360))


async def test_a_pass_whose_session_is_ended_is_done_again(
    made: TenantDatabases, process: Process, log: Log
) -> None:
    holder = await asyncpg.connect(made.superuser_url("acme"))
    async with holder.transaction():
        await holder.execute("SELECT * FROM audit_head FOR UPDATE")
        await process.append("acme", "outline/1")

        async def ended() -> bool:
            sql = """
                SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                 WHERE datname = current_database() AND query LIKE '%audit_chain(%'
                   AND wait_event_type = 'Lock'
            """
            return bool(await log.connection.fetchval(sql))

        await wait_until(ended)
    await holder.close()

    await wait_until(log.is_chained)
    assert await log.resources() == ["outline/1"]


async def test_a_database_that_is_away_is_chained_when_it_is_back_and_no_other_waits_for_it(
    made: TenantDatabases, process: Process, log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await process.append("globex", "before")
    holder = await asyncpg.connect(made.superuser_url("acme"))
    await holder.execute("BEGIN; SELECT * FROM audit_head FOR UPDATE")  # no pass comes before
    await process.append("acme", "1")
    await made.refuse_connections("acme")
    holder.terminate()
    for number in range(3):
        await process.append("globex", str(number))
    globex = await asyncpg.connect(made.superuser_url("globex"))
    await wait_until(Log(globex).is_chained)
    await globex.close()
    await wait_until(lambda: asyncio.sleep(0, process.chainer._failing))
    assert process.chainer.oldest_seconds() > 0

    await made.allow_connections("acme")
    connection = await asyncpg.connect(made.superuser_url("acme"))
    await wait_until(Log(connection).is_chained)
    assert await Log(connection).resources() == ["1"]
    await connection.close()
    await wait_until(lambda: asyncio.sleep(0, not process.chainer._failing))
    events = [getattr(record, "event", "") for record in caplog.records]
    assert events.count("audit_chain.unavailable") == 1
    assert events.count("audit_chain.recovered") == 1
    assert process.chainer.oldest_seconds() == 0


async def test_a_database_without_the_pass_is_left_alone(
    made: TenantDatabases, process: Process, log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    await log.connection.execute("DROP FUNCTION audit_chain")
    rollbacks = await _failed_statements(log)
    for _ in range(20):
        await process.use("acme")
        await asyncio.sleep(0.05)

    assert await _failed_statements(log) - rollbacks <= 1
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def _failed_statements(log: Log) -> int:
    await log.connection.execute("SELECT pg_stat_force_next_flush()")
    found: int = await log.connection.fetchval(
        "SELECT xact_rollback FROM pg_stat_database WHERE datname = current_database()"
    )
    return found


async def test_a_thousand_idle_or_suspended_tenants_have_no_timer_and_no_task(
    caplog: pytest.LogCaptureFixture,
) -> None:
    resolved: list[str] = []

    async def resolve(tenant_id: str) -> ConnectionParameters:
        resolved.append(tenant_id)
        raise TenantNotActive("the tenant is suspended", state="suspended")

    databases = Databases(resolve, "runs", 10)
    chainer = AuditChainer(databases)
    names = [f"t{number}" for number in range(1000)]
    for name in names:
        chainer.used(name)
    await wait_until(lambda: asyncio.sleep(0, len(resolved) == len(names)))
    await wait_until(lambda: asyncio.sleep(0, not chainer._passes))

    assert chainer.oldest_seconds() == 0
    assert chainer._timer is None
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert not caplog.records


async def test_the_metrics_tell_what_was_chained_and_what_waits(process: Process, log: Log) -> None:
    chained = AUDIT_CHAINED._value.get()
    async with log.connection.transaction():
        await log.connection.execute("SELECT * FROM audit_head FOR UPDATE")
        await process.append("acme", "outline/1")
        await wait_until(lambda: asyncio.sleep(0, process.chainer._passes))
        await process.append("acme", "outline/2")
        first = process.chainer.oldest_seconds()
        await asyncio.sleep(0.05)
        assert process.chainer.oldest_seconds() > first > 0
    await wait_until(log.is_chained)

    assert AUDIT_CHAINED._value.get() - chained == 2
