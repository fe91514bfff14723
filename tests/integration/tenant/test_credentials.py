"""Secrets at rest."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import asyncpg
import pytest

from nagaya_local.parts.postgres_account import ServerAccount
from tenant.domain.encryption import DecryptionFailed

if TYPE_CHECKING:
    from pathlib import Path

    from nagaya_local.parts.postgres import PostgresServer
    from tenant.composition import Composition
    from tenant.config import Config


async def test_a_dump_of_the_management_database_holds_no_password(
    service: Composition, config: Config, parts_folder: Path
) -> None:
    await service.tenants.create("acme", "r1", "Acme")
    logins = [
        *[await service.connections.resolve(name, "acme") for name in ("runs", "artifacts")],
        await service.connections.resolve("runs", ""),
        await service.connections.own("acme"),
    ]
    address = config.database
    pg_dump = ServerAccount.choose(parts_folder / "postgres").argv("pg_dump")[-1]
    url = f"postgresql://{address.host}:{address.port}/{address.database}"
    process = await asyncio.create_subprocess_exec(
        pg_dump,
        f"--dbname={url}",
        f"--username={address.user}",
        env={"PGPASSWORD": address.password},
        stdout=asyncio.subprocess.PIPE,
    )
    dumped = (await process.communicate())[0].decode()

    assert process.returncode == 0
    assert "acme" in dumped
    assert "v1.k1." in dumped
    for login in logins:
        assert login.password not in dumped


async def test_credentials_copied_to_another_tenant_do_not_open(
    service: Composition, management: asyncpg.Connection
) -> None:
    for name in ("acme", "globex"):
        await service.tenants.create(name, name, name)
    await management.execute(
        "UPDATE tenants SET database_url = (SELECT database_url FROM tenants WHERE id = 'acme')"
        " WHERE id = 'globex'"
    )
    await management.execute(
        """
        UPDATE tenant_credentials AS mine SET sealed = theirs.sealed
          FROM tenant_credentials AS theirs
         WHERE mine.tenant_id = 'globex' AND theirs.tenant_id = 'acme'
           AND mine.service = theirs.service
        """
    )

    for copied in (
        service.connections.own("globex"),
        service.connections.resolve("runs", "globex"),
    ):
        with pytest.raises(DecryptionFailed):
            await copied
    assert (await service.connections.own("acme")).password


async def test_credentials_copied_to_another_service_do_not_open(
    service: Composition, management: asyncpg.Connection
) -> None:
    await service.tenants.create("acme", "r1", "Acme")
    await management.execute(
        """
        UPDATE tenant_credentials
           SET sealed = (SELECT sealed FROM tenant_credentials WHERE service = 'artifacts')
         WHERE service = 'runs'
        """
    )

    with pytest.raises(DecryptionFailed):
        await service.connections.resolve("runs", "acme")


async def test_each_service_gets_its_own_role(service: Composition) -> None:
    tenant = await service.tenants.create("acme", "r1", "Acme")

    runs = await service.connections.resolve("runs", "acme")
    artifacts = await service.connections.resolve("artifacts", "acme")

    assert (runs.user, artifacts.user) == (
        tenant.database.runtime("runs"),
        tenant.database.runtime("artifacts"),
    )
    assert runs.password != artifacts.password
    assert (runs.database, runs.generation) == (tenant.database.name, 1)
    assert runs.password not in repr(runs)


async def test_all_processes_of_a_service_find_room_for_their_shares(
    service: Composition, config: Config
) -> None:
    await service.tenants.create("acme", "r1", "Acme")

    login = await service.connections.resolve("runs", "acme")
    processes = config.processes_per_service
    async with AsyncExitStack() as opened:
        for _ in range(processes * login.connection_limit):
            connection = await asyncpg.connect(
                host=login.host,
                port=login.port,
                database=login.database,
                user=login.user,
                password=login.password,
            )
            opened.push_async_callback(connection.close)

    assert login.connection_limit == config.connections_per_role // processes > 1


async def test_the_server_stores_verifiers_that_are_not_the_passwords(
    service: Composition, postgres: PostgresServer
) -> None:
    tenant = await service.tenants.create("acme", "r1", "Acme")
    superuser = await asyncpg.connect(postgres.superuser_url())
    stored = await superuser.fetchval(
        "SELECT rolpassword FROM pg_authid WHERE rolname = $1", tenant.database.runtime("runs")
    )
    await superuser.close()

    assert stored.startswith("SCRAM-SHA-256$1:")
