"""The tenant service and the artifacts service, each in this process, over real parts."""

from __future__ import annotations

import uuid
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import asyncpg
from tests.integration.tenant.harness import ADA, started
from tests.support.tenant_rows import Content, content, fill, publish_services
from tests.support.waiting import wait_until

from artifacts.composition import compose as compose_artifacts
from artifacts.config import CollectorConfig, StoreConfig
from artifacts.object_store.client import ObjectStore
from authentication.testing import verifier_of
from dataplane.tenants import connect_data_plane
from interceptor.server import Server
from nagaya.tenant.v1 import audit_service_pb2_grpc, backup_service_pb2_grpc
from nagaya.tenant.v1 import backup_service_pb2 as pb
from nagaya_local.machine.ports import free_port
from nagaya_local.parts.wheels import packaged_binaries
from servicekit.call import acting_as
from servicekit.channel import open_channel
from tenant.backup_config import BackupConfig
from tenant.domain.operations import OperationState
from tenant.store import operations, tenants
from tls.address import ServerAddress

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from pathlib import Path

    from interceptor.server import Binding
    from nagaya_local.parts.postgres import PostgresServer
    from nagaya_local.parts.s3 import S3Server
    from servicekit.testing import Keys
    from tenant.composition import Composition
    from tenant.config import Config
    from tenant.domain.operations import Operation
    from tenant.domain.tenants import Tenant

_COLLECTING = CollectorConfig(upload_seconds=3600, grace_seconds=60, interval_seconds=3600)
INSTALLATION = ("schema_migrations", "tenant_identity")


@dataclass(frozen=True, slots=True)
class BackupStack:
    """Both services, and where their data lies."""

    config: Config
    service: Composition
    backups: backup_service_pb2_grpc.BackupServiceStub
    audit: audit_service_pb2_grpc.AuditServiceStub
    postgres: PostgresServer
    objects: Path
    """The folder of the bucket."""
    folder: Path
    """Where backups are kept."""
    before: frozenset[str]
    """The databases and roles that other tests have left."""

    async def tenant(self, tenant_id: str) -> Tenant:
        async with self.service.management.connection() as connection:
            found = await tenants.find(connection, tenant_id)
        assert found is not None
        return found

    async def created(self) -> str:
        """Create a tenant whose objects no other test has; return its id."""
        tenant_id = f"acme-{uuid.uuid4().hex[:8]}"
        await self.service.tenants.create(tenant_id, str(uuid.uuid4()), "Acme")
        return tenant_id

    async def superuser(self, tenant_id: str) -> asyncpg.Connection[asyncpg.Record]:
        tenant = await self.tenant(tenant_id)
        return await asyncpg.connect(self.postgres.superuser_url(tenant.database.name))

    async def content(self, tenant_id: str) -> Content:
        """Read a tenant's database, by the test's own statements."""
        connection = await self.superuser(tenant_id)
        try:
            return await content(connection, without=INSTALLATION)
        finally:
            await connection.close()

    async def filled(self, tenant_id: str, *, runs: int = 3) -> dict[str, bytes]:
        """Put rows into all tables of a tenant, and objects into its bucket; return those."""
        connection = await self.superuser(tenant_id)
        try:
            files = await fill(connection, tenant_id, runs=runs)
            # Whoever uses the database would do it, while the test compares.
            await connection.execute("SELECT audit_chain(1000)")
        finally:
            await connection.close()
        for key, body in files.items():
            path = self.objects / tenant_id / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
        return files

    def stored(self, tenant_id: str) -> dict[str, bytes]:
        """Return a tenant's objects, by key, as they lie in the bucket."""
        root = self.objects / tenant_id
        return {
            path.relative_to(root).as_posix(): path.read_bytes()
            for path in root.rglob("*")
            if path.is_file()
        }

    async def ended(self, operation_id: str) -> Operation:
        """Return an operation once it has ended."""

        async def found() -> Operation | None:
            async with self.service.management.connection() as connection:
                operation = await operations.find(connection, operation_id)
            return operation if operation is not None and operation.ended else None

        return await wait_until(found, seconds=60)

    async def done(self, operation_id: str) -> Operation:
        """Return an operation once it is done. Fails the test when it ends otherwise."""
        operation = await self.ended(operation_id)
        assert operation.state is OperationState.DONE, (operation.reason, operation.message)
        return operation

    async def back_up(self, tenant_id: str) -> str:
        """Make a backup; return its id."""
        request = pb.CreateBackupRequest(tenant_id=tenant_id, request_id=str(uuid.uuid4()))
        begun = await self.backups.CreateBackup(request)
        await self.done(begun.operation.operation_id)
        return begun.backup.backup_id

    async def restore(
        self, tenant_id: str, backup_id: str, new_tenant_id: str = "", server_id: str = ""
    ) -> Operation:
        """Restore a backup, to the end."""
        request = pb.RestoreBackupRequest(
            tenant_id=tenant_id,
            backup_id=backup_id,
            request_id=str(uuid.uuid4()),
            new_tenant_id=new_tenant_id,
            server_id=server_id,
        )
        begun = await self.backups.RestoreBackup(request)
        return await self.ended(begun.operation.operation_id)

    async def verify(self, tenant_id: str, backup_id: str) -> Operation:
        """Verify a backup, to the end."""
        request = pb.VerifyBackupRequest(
            tenant_id=tenant_id, backup_id=backup_id, request_id=str(uuid.uuid4())
        )
        begun = await self.backups.VerifyBackup(request)
        return await self.ended(begun.operation.operation_id)

    async def delete(self, tenant_id: str, backup_id: str) -> None:
        """Delete a backup."""
        request = pb.DeleteBackupRequest(tenant_id=tenant_id, backup_id=backup_id)
        await self.backups.DeleteBackup(request)

    async def operation_of_request(self, request_id: str) -> Operation:
        """Return the operation that a request began."""
        async with self.service.management.connection() as connection:
            found = await operations.find_by_request_id(connection, request_id)
        assert found is not None
        return found

    async def leftovers(self) -> dict[str, object]:
        """Return what no tenant's row names: databases, roles and staged files."""
        found = await _names(self.postgres) - self.before
        async with self.service.management.connection() as management:
            known = await tenants.list_all(management)
        expected = {role for tenant in known for role in tenant.database.roles}
        staging = self.folder / ".staging"
        return {
            "names": found - expected,
            "staged": [path.name for path in staging.iterdir()] if staging.exists() else [],
        }


NOTHING = {"names": set[str](), "staged": list[str]()}


async def _names(postgres: PostgresServer) -> frozenset[str]:
    """Return the names of tenants' databases and their roles on the server."""
    connection = await asyncpg.connect(postgres.superuser_url())
    try:
        rows = await connection.fetch(
            r"""
            SELECT datname::text AS name FROM pg_database WHERE datname LIKE 't\_%'
             UNION
            SELECT rolname::text FROM pg_roles WHERE rolname LIKE 't\_%'
            """
        )
    finally:
        await connection.close()
    return frozenset(row["name"] for row in rows)


@asynccontextmanager
async def backup_stack(
    config: Config,
    keys: Keys,
    postgres: PostgresServer,
    s3: S3Server,
    parts: Path,
    folder: Path,
    backups: BackupConfig | None = None,
) -> AsyncGenerator[BackupStack]:
    """Run both services; the tenant service's operations run in the background.

    `backups` says where backups are kept, if not in a folder.
    """
    tenant_port, artifacts_port = free_port(), free_port()
    settings = replace(
        backups or BackupConfig(folder=folder / "backups"),
        programs=packaged_binaries(),
        artifacts_address=ServerAddress("127.0.0.1", artifacts_port),
    )
    config = replace(config, backups=settings, required_services=("runs", "artifacts"))
    before = await _names(postgres)
    async with started(config) as service:
        with acting_as(ADA):
            await publish_services(service)
        service.runner.start()
        async with (
            _serving(keys, tenant_port, service.bindings),
            _artifacts(keys, tenant_port, artifacts_port, s3),
            open_channel(f"127.0.0.1:{tenant_port}", None, keys.token()) as channel,
        ):
            yield BackupStack(
                config,
                service,
                backup_service_pb2_grpc.BackupServiceStub(channel),
                audit_service_pb2_grpc.AuditServiceStub(channel),
                postgres,
                parts / "s3" / "storage",
                folder / "backups",
                before,
            )


@asynccontextmanager
async def _artifacts(
    keys: Keys, tenant_port: int, own_port: int, s3: S3Server
) -> AsyncGenerator[None]:
    store = StoreConfig(s3.endpoint, s3.keys.access_key, s3.keys.secret_key, "storage", "us-east-1")
    async with (
        open_channel(f"127.0.0.1:{tenant_port}", keys.signer("artifacts")) as tenant,
        connect_data_plane(tenant, "artifacts", 10) as data,
        ObjectStore(store) as objects,
    ):
        with compose_artifacts("storage", _COLLECTING, data, objects) as service:
            await data.ready()
            async with _serving(keys, own_port, service.bindings):
                yield


@asynccontextmanager
async def _serving(keys: Keys, port: int, bindings: Sequence[Binding]) -> AsyncGenerator[None]:
    server = Server(replace(keys.config(), listen_port=port), bindings, verifier_of(keys))
    await server.start()
    await server.set_serving(True)
    try:
        yield
    finally:
        await server.stop(0.0)
