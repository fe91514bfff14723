"""Registration of database servers, and which of them a new tenant is placed on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import pytest
from tests.integration.tenant.calls import register, servers
from tests.support.audit_log import chain
from tests.support.old_postgres import OldPostgres

from nagaya.tenant.v1 import (
    server_pb2,
    server_service_pb2,
)
from nagaya_local.machine.ports import free_port
from nagaya_local.machine.running import running
from nagaya_local.parts.postgres import MANAGEMENT_DATABASE, PROVISIONER, PostgresServer
from servicekit.errors import DomainError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from interceptor.testing import RunningServer

NEEDED = {"CREATEDB", "CREATEROLE"}
GRANTED = {
    "pg_hba.conf",
    "REPLICATION",
    "wal_level = logical",
    "pg_create_subscription",
    "pg_checkpoint",
    "pg_switch_wal",
    "no superuser",
    "CONNECT on postgres and template1",
}


@pytest.fixture
async def superuser(second_postgres: PostgresServer) -> AsyncIterator[asyncpg.Connection]:
    """The superuser of the other server, in the provisioner's database."""
    connection = await asyncpg.connect(second_postgres.superuser_url(MANAGEMENT_DATABASE))
    yield connection
    await connection.close()


async def left_on(superuser: asyncpg.Connection) -> set[str]:
    """Return the databases and roles of a server that no registration is to leave behind."""
    rows = await superuser.fetch(
        """
        SELECT datname AS name FROM pg_database UNION ALL SELECT rolname FROM pg_roles
        """
    )
    return {row["name"] for row in rows}


async def test_a_registered_server_shows_what_it_has_and_lacks(
    server: RunningServer, second_postgres: PostgresServer, management: asyncpg.Connection
) -> None:
    registered = await register(
        server, second_postgres.url, labels={"region": "eu"}, max_tenants=3, connection_budget=80
    )

    assert {check.name for check in registered.checks if check.passed} == NEEDED | GRANTED
    (absent,) = (check for check in registered.checks if not check.passed)
    assert (absent.name, bool(absent.consequence), bool(absent.remedy)) == ("TLS", True, True)
    assert (registered.host, registered.port) == ("127.0.0.1", second_postgres.port)
    assert registered.version.startswith("18")
    request = server_service_pb2.GetServerRequest(server_id="second")
    assert (await servers(server).GetServer(request)).server == registered
    listed = await servers(server).ListServers(server_service_pb2.ListServersRequest())
    assert [one.server_id for one in listed.servers] == ["main", "second"]
    assert [one.version for one in listed.servers] == [registered.version] * 2
    kept = await management.fetchval("SELECT db_servers::text FROM db_servers WHERE id = 'second'")
    assert second_postgres.url.split(":")[2].split("@")[0] not in kept
    await chain(management)
    details = await management.fetchval(
        "SELECT details::text FROM audit_logs WHERE action = 'server.register'"
    )
    assert "eu" in details
    assert second_postgres.url.split(":")[2].split("@")[0] not in details


async def test_a_second_registration_replaces_what_is_said_and_keeps_the_address(
    server: RunningServer, second_postgres: PostgresServer
) -> None:
    await register(server, second_postgres.url, labels={"region": "eu"}, max_tenants=3)

    changed = await register(server, "", labels={"tier": "small"})

    assert dict(changed.labels) == {"tier": "small"}
    assert (changed.max_tenants, changed.port) == (0, second_postgres.port)
    main = await register(server, "", "main", labels={"region": "us"})
    assert dict(main.labels) == {"region": "us"}
    assert "pg_hba.conf" in {check.name for check in main.checks if check.passed}


@pytest.mark.parametrize(
    ("server_id", "address", "reason"),
    [
        ("second", "", "ERROR_REASON_SERVER_ADDRESS_INVALID"),
        ("second", "mysql://a:b@c/d", "ERROR_REASON_SERVER_ADDRESS_INVALID"),
        ("second", "postgresql://a:b@c/", "ERROR_REASON_SERVER_ADDRESS_INVALID"),
        ("main", "postgresql://a:b@c/d", "ERROR_REASON_SERVER_ADDRESS_INVALID"),
        ("second", "postgresql://a:b@127.0.0.1:1/d", "ERROR_REASON_SERVER_UNAVAILABLE"),
    ],
)
async def test_an_address_that_leads_nowhere_is_refused(
    server: RunningServer, server_id: str, address: str, reason: str
) -> None:
    with pytest.raises(DomainError) as error:
        await register(server, address, server_id)

    assert error.value.reason == reason
    listed = await servers(server).ListServers(server_service_pb2.ListServersRequest())
    assert [one.server_id for one in listed.servers] == ["main"]


@pytest.mark.parametrize(
    ("takes", "gives", "check"),
    [
        (
            f"ALTER ROLE {PROVISIONER} NOCREATEROLE",
            f"ALTER ROLE {PROVISIONER} CREATEROLE",
            "CREATEROLE",
        ),
        (f"ALTER ROLE {PROVISIONER} NOCREATEDB", f"ALTER ROLE {PROVISIONER} CREATEDB", "CREATEDB"),
    ],
)
async def test_a_server_that_lacks_what_is_needed_is_refused_and_nothing_is_left(
    server: RunningServer,
    second_postgres: PostgresServer,
    superuser: asyncpg.Connection,
    takes: str,
    gives: str,
    check: str,
) -> None:
    before = await left_on(superuser)
    await superuser.execute(takes)
    try:
        with pytest.raises(DomainError) as error:
            await register(server, second_postgres.url)
    finally:
        await superuser.execute(gives)

    assert error.value.reason == "ERROR_REASON_SERVER_UNSUITABLE"
    assert error.value.metadata["check"] == check
    assert await left_on(superuser) == before


async def test_a_pg_hba_conf_that_admits_no_tenant_is_refused_and_one_that_admits_all_is_shown(
    server: RunningServer, second_postgres: PostgresServer, superuser: asyncpg.Connection
) -> None:
    rules = second_postgres.data / "pg_hba.conf"
    text = rules.read_text()
    before = await left_on(superuser)
    try:
        rules.write_text("\n".join(line for line in text.splitlines() if "samerole" not in line))
        await superuser.execute("SELECT pg_reload_conf()")
        with pytest.raises(DomainError) as error:
            await register(server, second_postgres.url)
        assert error.value.metadata["check"] == "pg_hba.conf"
        assert "samerole" in str(error.value)
        assert await left_on(superuser) == before

        rules.write_text(text.replace("samerole", "all"))
        await superuser.execute("SELECT pg_reload_conf()")
        registered = await register(server, second_postgres.url)
    finally:
        rules.write_text(text)
        await superuser.execute("SELECT pg_reload_conf()")
    absent = {check.name: check.consequence for check in registered.checks if not check.passed}
    assert "CONNECT" in absent["pg_hba.conf"]


async def test_what_a_server_does_not_grant_is_said(
    server: RunningServer, second_postgres: PostgresServer, superuser: asyncpg.Connection
) -> None:
    await superuser.execute(
        f"""
        ALTER ROLE {PROVISIONER} NOREPLICATION;
        REVOKE pg_checkpoint, pg_create_subscription FROM {PROVISIONER};
        REVOKE EXECUTE ON FUNCTION pg_switch_wal() FROM {PROVISIONER}
        """
    )
    try:
        registered = await register(server, second_postgres.url)
    finally:
        await superuser.execute(
            f"""
            ALTER ROLE {PROVISIONER} REPLICATION;
            GRANT pg_checkpoint, pg_create_subscription TO {PROVISIONER};
            GRANT EXECUTE ON FUNCTION pg_switch_wal() TO {PROVISIONER}
            """
        )

    absent = {check.name for check in registered.checks if not check.passed}
    assert absent >= {"REPLICATION", "pg_checkpoint", "pg_create_subscription", "pg_switch_wal"}


async def test_an_old_server_and_one_that_is_known_already_are_refused(
    server: RunningServer, postgres: PostgresServer, tmp_path: Path
) -> None:
    with pytest.raises(DomainError) as error:
        await register(server, postgres.url)
    assert error.value.metadata["check"] == "cluster"

    async with running(OldPostgres(tmp_path / "old", free_port()), tmp_path / "old.log") as old:
        with pytest.raises(DomainError) as error:
            await register(server, old.url)
    assert error.value.metadata["check"] == "version"
    assert "is PostgreSQL 16, and 18 or later is needed" in str(error.value)


async def test_a_lost_server_is_lost_until_it_is_said_to_be_back(
    server: RunningServer, second_server: PostgresServer
) -> None:
    async def drain(**how: bool) -> int:
        request = server_service_pb2.DrainServerRequest(server_id="second", **how)
        return (await servers(server).DrainServer(request)).server.state

    assert await drain(lost=True) == server_pb2.SERVER_STATE_LOST
    assert await drain(lost=True) == server_pb2.SERVER_STATE_LOST
    for how in ({}, {"move_tenants": True}):
        with pytest.raises(DomainError) as refused:
            await drain(**how)
        assert refused.value.reason == "ERROR_REASON_SERVER_LOST"
    assert await drain(undo=True) == server_pb2.SERVER_STATE_ACTIVE
    assert await drain() == server_pb2.SERVER_STATE_DRAINING


async def test_an_unknown_server_is_not_found(server: RunningServer) -> None:
    for call, request in (
        (servers(server).GetServer, server_service_pb2.GetServerRequest(server_id="nowhere")),
        (servers(server).DrainServer, server_service_pb2.DrainServerRequest(server_id="nowhere")),
    ):
        with pytest.raises(DomainError) as error:
            await call(request)  # pyright: ignore[reportArgumentType]
        assert error.value.reason == "ERROR_REASON_SERVER_NOT_FOUND"
