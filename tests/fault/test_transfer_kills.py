"""The tenant service is killed while it exports and imports: exactly one tenant comes out of it."""

from __future__ import annotations

import asyncio
import os
import secrets
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from tests.support.installation import Installation, Place, running_artifacts
from tests.support.processes import ROOT, ServiceProcess
from tests.support.tenant_rows import content
from tests.support.transfers import begin_import, bundle_of, downloaded, filled, uploaded

from bundle import signature
from bundle.source import TarSource
from bundle.verify import verify
from dataplane.migrations import publish, read_migrations
from nagaya.tenant.v1 import (
    operation_pb2,
    operation_service_pb2,
    tenant_service_pb2,
    transfer_service_pb2,
)
from nagaya_local.machine.ports import free_port
from nagaya_local.machine.running import running_from_sync
from nagaya_local.parts.s3 import S3Server
from servicekit.channel import open_channel
from servicekit.errors import DomainError
from servicekit.testing import Keys
from tenant.config import management_address
from tenant.transfer.tables import OF_THE_INSTALLATION

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator
    from pathlib import Path

    from nagaya_local.parts.postgres import PostgresServer

KILLS = int(os.environ.get("NAGAYA_TEST_KILLS", "4"))
"""How often the service is killed, at an instant drawn anew."""
_LONGEST_SECONDS = 1.5
_SERVICES = ROOT / "services"


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    folder = tmp_path_factory.mktemp("objects")
    server = S3Server(folder / "s3", folder / "keys.json", free_port(), stale_ms=50)
    with running_from_sync(server, folder / "s3.log"):
        yield server


@pytest.fixture
def place(tmp_path: Path, postgres: PostgresServer, management_url: str, s3: S3Server) -> Place:
    folder = tmp_path / "installation"
    folder.mkdir()
    bucket = f"bucket-{secrets.token_hex(4)}"
    return Place(folder, postgres, management_url, s3, s3._folder, bucket, Keys(folder))


@dataclass(frozen=True, slots=True)
class Killable:
    """An installation whose tenant service is a process of its own."""

    installation: Installation
    process: ServiceProcess

    async def kill(self) -> None:
        """Kill the service, and start it again."""
        self.process.kill()
        await asyncio.to_thread(self.process.start)

    async def operation(self, operation_id: str) -> operation_pb2.Operation:
        request = operation_service_pb2.GetOperationRequest(operation_id=operation_id)
        while True:
            try:
                return (await self.installation.operations.GetOperation(request)).operation
            except DomainError:
                await asyncio.sleep(0.05)

    async def ended(self, operation_id: str) -> operation_pb2.Operation:
        while True:
            found = await self.operation(operation_id)
            if found.state != operation_pb2.OPERATION_STATE_RUNNING:
                return found
            await asyncio.sleep(0.05)


@asynccontextmanager
async def killable(place: Place) -> AsyncGenerator[Killable]:
    port = free_port()
    place.config("127.0.0.1:1")  # writes the key ring
    env = {
        "NAGAYA_PG_URL": place.management_url,
        "NAGAYA_KEYRING_FILE": str(place.key_ring_file),
        "NAGAYA_WORKLOAD_KEY_FILE": str(place.keys.key_file("tenant")),
        "NAGAYA_TRANSFER_FOLDER": str(place.folder / "bundles"),
        "NAGAYA_ARTIFACTS_ADDRESS": f"127.0.0.1:{port}",
        "NAGAYA_METRICS_PORT": "0",
    }
    process = ServiceProcess("tenant", "tenant", place.keys, place.folder, env)
    await asyncio.to_thread(process.start)
    async with AsyncExitStack() as stack:
        stack.callback(process.stop)
        for service in ("runs", "artifacts", "llm-gateway"):
            await _publish(process.address, place, service)
        await stack.enter_async_context(running_artifacts(place, process.address, port))
        channel = open_channel(process.address, None, place.keys.token())
        await stack.enter_async_context(channel)
        yield Killable(Installation(place, None, channel), process)


async def _publish(address: str, place: Place, service: str) -> None:
    folder = _SERVICES / service / "migrations"
    async with open_channel(address, place.keys.signer(service)) as channel:
        await publish(channel, service, read_migrations(folder))


async def test_an_import_that_is_killed_anywhere_makes_one_tenant(place: Place) -> None:
    async with killable(place) as killed:
        target = killed.installation
        old, files = await filled(target)
        data = await bundle_of(target)
        before = await target.superuser(old.database)
        expected = await content(before, without=OF_THE_INSTALLATION)
        await before.close()
        operations: dict[str, str] = {}
        for number in range(KILLS):
            tenant_id = f"copy-{number}"
            bundle_id = await uploaded(target, data)
            begun = await begin_import(target, target, bundle_id, tenant_id, f"r{number}")
            operations[tenant_id] = begun.operation_id
            await asyncio.sleep(_delay())
            await killed.kill()
            again = await begin_import(target, target, bundle_id, tenant_id, f"r{number}")
            assert again.operation_id == begun.operation_id

        for tenant_id, operation_id in operations.items():
            ended = await killed.ended(operation_id)
            assert ended.state == operation_pb2.OPERATION_STATE_DONE, ended
            request = tenant_service_pb2.GetTenantRequest(tenant_id=tenant_id)
            new = (await target.tenants.GetTenant(request)).tenant
            after = await target.superuser(new.database)
            assert await content(after, without=OF_THE_INSTALLATION) == expected
            await after.close()
            assert place.object_files(tenant_id) == files
        assert await _stray(target) == set()
        assert not list(place.folder.glob("bundles/uploads/*"))


async def test_an_export_that_is_killed_anywhere_is_whole_in_the_end(
    place: Place, tmp_path: Path
) -> None:
    async with killable(place) as killed:
        source = killed.installation
        await filled(source)
        keys = signature.keys(place.keys.jwks_file.read_bytes())
        for number in range(KILLS):
            request = transfer_service_pb2.CreateExportRequest(
                tenant_id="acme", request_id=f"export {number}"
            )
            begun = (await source.transfers.CreateExport(request)).operation
            await asyncio.sleep(_delay() / 2)
            await killed.kill()
            again = (await source.transfers.CreateExport(request)).operation
            assert again.operation_id == begun.operation_id

            ended = await killed.ended(begun.operation_id)
            assert ended.state == operation_pb2.OPERATION_STATE_DONE, ended
            tar = tmp_path / f"{number}.tar"
            tar.write_bytes((await downloaded(source, ended.result["bundle_id"]))[1])
            verify(TarSource(tar), lambda raw, signed: signature.check(keys, raw, signed))


def _delay() -> float:
    return secrets.randbelow(1000) / 1000 * _LONGEST_SECONDS


async def _stray(installation: Installation) -> set[str]:
    """Return the databases and roles of tenants that no row names."""
    registry = management_address(installation.place.management_url).database
    connection = await installation.superuser(registry)
    try:
        marker = await connection.fetchval("SELECT 'nagaya ' || id FROM installation")
        known = {row[0] for row in await connection.fetch("SELECT db_name FROM tenants")}
        found = await connection.fetch(
            """
            SELECT datname FROM pg_database
             WHERE starts_with(shobj_description(oid, 'pg_database'), $1)
               AND NOT datistemplate
            """,
            marker,
        )
        return {row[0] for row in found} - known
    finally:
        await connection.close()
