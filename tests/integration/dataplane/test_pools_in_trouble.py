from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.integration.dataplane.registry import until
from tests.support.tcp_proxy import TcpProxy

from servicekit.errors import (
    DatabaseUnavailable,
    DeadlineExceeded,
    TooManyCalls,
    Unavailable,
    ValueUnstorable,
)

if TYPE_CHECKING:
    from tests.integration.dataplane.registry import Registry

    from dataplane.tenants import DataPlane
    from interceptor.testing import RunningServer
    from nagaya_local.parts.postgres import PostgresServer


async def test_a_new_password_is_asked_for_when_the_old_one_fails(
    data: DataPlane, registry: Registry
) -> None:
    async with data.tenants.connection("acme") as connection:
        pid = await connection.fetchval("SELECT pg_backend_pid()")
    await registry.rotate("acme")
    await registry.close_sessions("acme")

    async with data.tenants.transaction("acme") as connection:
        assert await connection.fetchval("SELECT pg_backend_pid()") != pid
    assert registry.resolved["acme"] == 2


async def test_tenants_are_reachable_while_the_tenant_service_is_away(
    data: DataPlane, registry: Registry, running: RunningServer
) -> None:
    async with data.tenants.connection("acme"):
        pass
    await running.server.stop(0.0)

    async with data.tenants.connection("acme") as connection:
        assert await connection.fetchval("SELECT 1") == 1
    with pytest.raises(Unavailable) as refused:
        async with data.tenants.connection("other"):
            pass
    assert refused.value.metadata["peer"] == "tenant"


async def test_nobody_waits_for_ever_for_a_connection(
    data: DataPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hold(entered: asyncio.Event, release: asyncio.Event) -> None:
        async with data.tenants.connection("acme"):
            entered.set()
            await release.wait()

    release = asyncio.Event()
    events = [asyncio.Event() for _ in range(2)]  # one of three is the management database's
    holders = [asyncio.create_task(hold(entered, release)) for entered in events]
    async with data.management.connection():
        await asyncio.gather(*(entered.wait() for entered in events))
        monkeypatch.setattr("dataplane.pools.WAIT_SECONDS", 0.1)
        with pytest.raises(TooManyCalls):
            async with data.tenants.connection("acme"):
                pass
    release.set()
    await asyncio.gather(*holders)


async def test_a_cancelled_block_leaves_no_connection_behind(
    data: DataPlane, registry: Registry
) -> None:
    async def work() -> None:
        async with data.tenants.transaction("acme") as connection:
            await connection.execute("SELECT pg_sleep(30)")

    for _ in range(8):
        task = asyncio.create_task(work())
        await until(lambda: registry.sessions("acme"), 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: registry.sessions("acme"), 0)
    async with data.tenants.connection("acme") as connection:
        assert await connection.fetchval("SELECT 1") == 1


async def test_a_database_that_goes_away_is_unavailable_and_comes_back(
    data: DataPlane, registry: Registry
) -> None:
    with pytest.raises(DatabaseUnavailable):
        await lose_the_connection(data, registry)
    async with data.tenants.connection("acme") as connection:
        await connection.execute("SELECT 1")
    await registry.close_sessions("acme")
    async with data.tenants.transaction("acme") as connection:
        await connection.execute("SELECT 1")


async def lose_the_connection(data: DataPlane, registry: Registry) -> None:
    async with data.tenants.connection("acme") as connection:
        await registry.close_sessions("acme")
        await connection.execute("SELECT 1")


async def test_a_database_that_is_not_there_at_all_is_unavailable(
    data: DataPlane, registry: Registry
) -> None:
    registry.move("acme", port=1)

    with pytest.raises(DatabaseUnavailable):
        async with data.tenants.connection("acme"):
            pass


async def test_a_database_server_that_has_moved_is_found_again_without_a_restart(
    data: DataPlane, registry: Registry, postgres: PostgresServer
) -> None:
    proxy = TcpProxy(postgres.port)
    async with proxy.running():
        registry.move("acme", proxy.port)
        async with data.tenants.connection("acme") as connection:
            await connection.execute("SELECT 1")
    await registry.close_sessions("acme")
    registry.move("acme", postgres.port)

    async def answer() -> int:
        try:
            async with data.tenants.connection("acme") as connection:
                return await connection.fetchval("SELECT 1")
        except DatabaseUnavailable:
            return 0

    await until(answer, 1)


async def test_a_refusal_for_more_processes_than_connections_names_the_setting(
    data: DataPlane, registry: Registry
) -> None:
    await registry.limit_sessions("acme", 0)

    with pytest.raises(DatabaseUnavailable, match="NAGAYA_PROCESSES_PER_SERVICE"):
        async with data.tenants.connection("acme"):
            pass


@pytest.mark.parametrize("sql", ["SELECT $1::text", "SELECT ($1::jsonb) ->> 'a'"])
async def test_a_text_that_cannot_be_stored_is_refused_and_leaves_the_connection_well(
    data: DataPlane, sql: str
) -> None:
    with pytest.raises(ValueUnstorable, match=r"U\+0000"):
        async with data.tenants.transaction("acme") as connection:
            await connection.fetchval(sql, "\0" if "text" in sql else '{"a": "\\u0000"}')
    async with data.tenants.connection("acme") as connection:
        assert await connection.fetchval("SELECT 1") == 1


async def test_a_statement_that_takes_too_long_is_ended_by_the_database(data: DataPlane) -> None:
    with pytest.raises(DeadlineExceeded):
        await sleep_in_a_transaction(data)
    async with data.tenants.connection("acme") as connection:
        assert await connection.fetchval("SELECT 1") == 1


async def sleep_in_a_transaction(data: DataPlane) -> None:
    async with data.tenants.transaction("acme") as connection:
        await connection.execute("SET LOCAL statement_timeout = '50ms'")
        await connection.execute("SELECT pg_sleep(10)")
