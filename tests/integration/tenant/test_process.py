"""`python -m tenant`: its start, and what kill -9 leaves behind."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import time
from typing import TYPE_CHECKING

import pytest
from tests.support.audit_log import chain
from tests.support.old_postgres import OldPostgres
from tests.support.waiting import wait_until

from nagaya.tenant.v1 import (
    schema_pb2,
    schema_service_pb2,
    schema_service_pb2_grpc,
    tenant_pb2,
    tenant_service_pb2,
    tenant_service_pb2_grpc,
)
from nagaya_local.errors import NotReady
from nagaya_local.machine.ports import free_port
from nagaya_local.machine.running import running
from nagaya_local.parts.health import probe_grpc_health
from servicekit.channel import open_channel
from servicekit.errors import DomainError
from servicekit.testing import ISSUER
from tls.address import ServerAddress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import asyncpg

    from servicekit.testing import Keys
    from tenant.config import Config

KILLS = 5


class Process:
    """One process of the service, killed with the test."""

    def __init__(self, settings: dict[str, str], log: Path) -> None:
        self.settings = settings
        self.log = log
        self.address = settings["NAGAYA_LISTEN"]

    async def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tenant", env=self.settings, stderr=log
            )

    async def serving(self) -> None:
        """Return when health says that it serves."""
        await wait_until(self._serves, unless=self._ended, seconds=60)

    def _ended(self) -> str:
        if self._process.returncode is None:
            return ""
        return f"it has ended: {self.log.read_text()}"

    async def _serves(self) -> bool:
        try:
            await probe_grpc_health(ServerAddress.parse(self.address), "tenant")
        except NotReady:
            return False
        return True

    async def end(self, number: signal.Signals) -> int:
        if self._process.returncode is None:
            self._process.send_signal(number)
        return await self._process.wait()

    async def wait(self) -> int:
        """Return its exit status when it has ended by itself."""
        async with asyncio.timeout(60):
            return await self._process.wait()

    async def logged(self, text: str) -> str:
        """Return the log, once it holds a text."""

        async def found() -> str | None:
            log = self.log.read_text()
            return log if text in log else None

        return await wait_until(found, unless=self._ended, seconds=60)


@pytest.fixture
async def process(
    keys: Keys, config: Config, management_url: str, tmp_path: Path
) -> AsyncIterator[Process]:
    process = Process(
        {
            "NAGAYA_LISTEN": f"127.0.0.1:{free_port()}",
            "NAGAYA_PG_URL": management_url,
            "NAGAYA_KEYRING_FILE": str(config.key_ring_file),
            "NAGAYA_JWKS_FILE": str(keys.jwks_file),
            "NAGAYA_TOKEN_ISSUER": ISSUER,
            "NAGAYA_WORKLOAD_KEY_FILE": str(keys.key_file("tenant")),
            "NAGAYA_REQUIRED_SERVICES": "runs",
            "NAGAYA_DRAIN_SECONDS": "0",
        },
        tmp_path / "tenant.log",
    )
    await process.start()
    yield process
    await process.end(signal.SIGKILL)


async def create(process: Process, keys: Keys, tenant_id: str) -> tenant_pb2.Tenant:
    async with open_channel(process.address, None, keys.token()) as channel:
        stub = tenant_service_pb2_grpc.TenantServiceStub(channel)
        request = tenant_service_pb2.CreateTenantRequest(
            tenant_id=tenant_id, request_id=tenant_id, name=tenant_id
        )
        return (await stub.CreateTenant(request)).tenant


async def publish(process: Process, keys: Keys) -> None:
    sql = ";".join(f"CREATE TABLE runs_{n} (id BIGSERIAL PRIMARY KEY)" for n in range(20))
    target = schema_pb2.MIGRATION_TARGET_TENANT
    migrations = [schema_pb2.Migration(number=1, name="runs", target=target, sql=sql)]
    async with open_channel(process.address, keys.signer("runs")) as channel:
        stub = schema_service_pb2_grpc.SchemaServiceStub(channel)
        request = schema_service_pb2.PublishMigrationsRequest(migrations=migrations)
        await stub.PublishMigrations(request)


async def test_killed_at_any_instant_of_a_creation_it_finishes_it_once_asked_again(
    process: Process, keys: Keys, management: asyncpg.Connection
) -> None:
    await process.serving()
    await publish(process, keys)
    started = time.monotonic()
    await create(process, keys, "first")
    seconds = time.monotonic() - started

    for number in range(KILLS):
        tenant_id, after = f"tenant-{number}", random.uniform(0, seconds)  # noqa: S311 - a sample
        creating = asyncio.create_task(create(process, keys, tenant_id))
        await asyncio.wait((creating,), timeout=after)
        await process.end(signal.SIGKILL)
        creating.cancel()
        await asyncio.gather(creating, return_exceptions=True)
        await process.start()
        await process.serving()
        tenant = await create(process, keys, tenant_id)
        assert tenant.state == tenant_pb2.TENANT_STATE_ACTIVE, f"killed after {after:.3f} s"

    rows = await management.fetch("SELECT id, db_name, state, generation FROM tenants")
    assert len(rows) == KILLS + 1
    assert {(row["state"], row["generation"]) for row in rows} == {("active", 1)}
    names = {row["db_name"] for row in rows}
    marker = await management.fetchval("SELECT 'nagaya ' || id FROM installation")
    made = await management.fetch(
        """
        SELECT datname, datallowconn, shobj_description(oid, 'pg_database') AS marker
          FROM pg_database WHERE starts_with(shobj_description(oid, 'pg_database'), $1)
        """,
        marker,
    )
    assert {row["datname"] for row in made} == names
    assert {(row["datallowconn"], row["marker"]) for row in made} == {(True, f"{marker} ready")}
    roles = await management.fetch(
        "SELECT split_part(rolname, '_', 2) AS of, rolcanlogin FROM pg_roles WHERE rolname ~ '^t_'"
    )
    for name in names:
        mine = [row["rolcanlogin"] for row in roles if f"t_{row['of']}" == name]
        assert sorted(mine) == [False] * 5 + [True] * 4
    await chain(management)
    audited = await management.fetch(
        "SELECT resource_id FROM audit_logs WHERE action = 'tenant.create'"
    )
    assert len(audited) == len(rows)


async def test_a_second_process_waits_while_the_management_database_is_migrated(
    process: Process, management: asyncpg.Connection, tmp_path: Path
) -> None:
    """Both would set the password of one migration role, and end each other's session."""
    await process.serving()
    settings = process.settings | {"NAGAYA_LISTEN": f"127.0.0.1:{free_port()}"}
    second = Process(settings, tmp_path / "second.log")
    lock = "(hashtextextended('management', 0))"
    await management.execute(f"SELECT pg_advisory_lock{lock}")

    async def waits_before_it_migrates() -> bool:
        return await management.fetchval(
            """
            SELECT EXISTS (
                SELECT FROM pg_locks AS awaited JOIN pg_locks AS held USING (pid)
                 WHERE awaited.locktype = 'advisory' AND NOT awaited.granted
                   AND held.locktype = 'advisory' AND held.granted)
            """
        )

    try:
        await second.start()
        await wait_until(waits_before_it_migrates)
        await management.execute(f"SELECT pg_advisory_unlock{lock}")
        await second.serving()
    finally:
        await second.end(signal.SIGKILL)


async def test_a_signal_ends_it_in_order(process: Process) -> None:
    await process.serving()

    assert await process.end(signal.SIGTERM) == 0


async def test_without_postgresql_it_says_what_it_waits_for(process: Process, keys: Keys) -> None:
    await process.end(signal.SIGKILL)
    url, port = process.settings["NAGAYA_PG_URL"], free_port()
    database = url.rpartition("/")[2]
    process.settings["NAGAYA_PG_URL"] = f"postgresql://someone:x@127.0.0.1:{port}/{database}"
    await process.start()

    log = await process.logged("waiting for PostgreSQL")

    assert f"127.0.0.1:{port}" in log
    with pytest.raises(DomainError) as error:
        await create(process, keys, "acme")
    assert error.value.reason in (
        "ERROR_REASON_SERVER_UNAVAILABLE",
        "ERROR_REASON_PEER_UNAVAILABLE",
    )
    assert await process.end(signal.SIGTERM) == 0


async def test_a_server_that_is_too_old_ends_it_with_one_sentence(
    process: Process, tmp_path: Path
) -> None:
    await process.end(signal.SIGKILL)
    process.log.write_text("")
    async with running(OldPostgres(tmp_path / "old", free_port()), tmp_path / "old.log") as server:
        process.settings["NAGAYA_PG_URL"] = server.url
        await process.start()

        assert await process.wait() == 1
    *_, last = process.log.read_text().splitlines()
    assert "is PostgreSQL 16, and 18 or later is needed" in last
    assert "Traceback" not in process.log.read_text()


async def test_wrong_settings_are_reported_together(process: Process) -> None:
    await process.end(signal.SIGKILL)
    process.log.write_text("")
    process.settings |= {"NAGAYA_PG_URL": "mysql://x", "NAGAYA_LISTEN": "nowhere"}
    del process.settings["NAGAYA_KEYRING_FILE"]
    await process.start()

    assert await process.end(signal.SIGCONT) == 1
    log = process.log.read_text()
    for setting in ("NAGAYA_PG_URL", "NAGAYA_LISTEN", "NAGAYA_KEYRING_FILE"):
        assert setting in log
    assert "Traceback" not in log
