"""The tenant and artifacts services of one installation, in this process, on real parts."""

from __future__ import annotations

import base64
import json
import secrets
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import asyncpg
from tests.support.tenant_rows import publish_services

import artifacts.composition
from artifacts.config import CollectorConfig, StoreConfig
from artifacts.object_store.client import ObjectStore
from authentication.testing import verifier_of
from dataplane.tenants import connect_data_plane
from interceptor.server import Server
from interceptor.testing import serve
from nagaya.tenant.v1 import (
    operation_service_pb2_grpc,
    tenant_service_pb2_grpc,
    transfer_service_pb2_grpc,
)
from nagaya_local.machine.ports import free_port
from servicekit.call import acting_as
from servicekit.channel import open_channel
from servicekit.identity import Principal
from tenant.backup_config import BackupConfig
from tenant.composition import Composition, compose
from tenant.config import Config, TransferConfig, management_address
from tls.address import ServerAddress

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    import grpc

    from dataplane.tenants import DataPlane
    from nagaya.tenant.v1 import tenant_pb2
    from nagaya_local.parts.postgres import PostgresServer
    from nagaya_local.parts.s3 import S3Server
    from servicekit.testing import Keys

ADA = Principal("ada", None, frozenset({"*"}), frozenset({"*"}))
_COLLECTING = CollectorConfig(upload_seconds=3600, grace_seconds=60, interval_seconds=3600)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an installation is, under which names."""

    folder: Path
    """Of keys, bundles and objects' server."""
    postgres: PostgresServer
    management_url: str
    s3: S3Server
    objects: Path
    """The folder of the S3 server."""
    bucket: str
    keys: Keys

    @property
    def key_ring_file(self) -> Path:
        return self.folder / "keyring.json"

    def config(self, artifacts_address: str) -> Config:
        ring = {"active": "k1", "keys": {"k1": base64.b64encode(b"1" * 32).decode()}}
        self.key_ring_file.write_text(json.dumps(ring))
        self.key_ring_file.chmod(0o600)
        return Config(
            server=self.keys.config("tenant"),
            database=management_address(self.management_url),
            key_ring_file=self.key_ring_file,
            required_services=("runs", "artifacts", "llm-gateway"),
            connections_per_role=5,
            processes_per_service=2,
            transfers=TransferConfig(self.folder / "bundles"),
            backups=BackupConfig(artifacts_address=ServerAddress.parse(artifacts_address)),
        )

    def object_files(self, tenant_id: str) -> dict[str, bytes]:
        """Return the objects of a tenant as they lie on disk, by key."""
        folder = self.objects / self.bucket / tenant_id
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
        }

    def put_objects(self, tenant_id: str, files: dict[str, bytes]) -> None:
        """Put objects where the S3 server finds them."""
        for key, body in files.items():
            path = self.objects / self.bucket / tenant_id / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)


@dataclass(frozen=True, slots=True)
class Installation:
    """What runs, and clients for it."""

    place: Place
    service: Composition | None
    """None where it is another process."""
    channel: grpc.aio.Channel

    @property
    def tenants(self) -> tenant_service_pb2_grpc.TenantServiceStub:
        return tenant_service_pb2_grpc.TenantServiceStub(self.channel)

    @property
    def transfers(self) -> transfer_service_pb2_grpc.TransferServiceStub:
        return transfer_service_pb2_grpc.TransferServiceStub(self.channel)

    @property
    def operations(self) -> operation_service_pb2_grpc.OperationServiceStub:
        return operation_service_pb2_grpc.OperationServiceStub(self.channel)

    async def superuser(self, database: str = "postgres") -> asyncpg.Connection[asyncpg.Record]:
        return await asyncpg.connect(self.place.postgres.superuser_url(database))

    async def noted_head(self, tenant: tenant_pb2.Tenant) -> int:
        """Return the entry that a tenant's log must have because it was brought there."""
        assert self.service is not None
        signed, management = self.service.anchors.signed, self.service.management
        async with management.connection() as connection:
            noted = await signed.noted_head(connection, tenant.tenant_id, tenant.database)
        return 0 if noted is None else noted.sequence

    async def traces(self) -> set[str]:
        """Return what there is of tenants: rows, databases, roles, objects, uploads."""
        registry = await self.superuser(management_address(self.place.management_url).database)
        try:
            found = await registry.fetch(
                """
                SELECT 'row ' || id FROM tenants
                UNION ALL SELECT 'credential ' || tenant_id FROM tenant_credentials
                UNION ALL SELECT 'schema ' || tenant_id FROM schema_states WHERE tenant_id <> ''
                UNION ALL SELECT 'database ' || datname FROM pg_database
                UNION ALL SELECT 'role ' || rolname FROM pg_roles
                """
            )
        finally:
            await registry.close()
        bucket, uploads = self.place.objects / self.place.bucket, self.place.folder / "bundles"
        files = [f"file {path}" for path in (*bucket.rglob("*"), *uploads.rglob("*.tar*"))]
        return {row[0] for row in found} | {file for file in files if not file.endswith("/")}


@asynccontextmanager
async def installed(place: Place) -> AsyncGenerator[Installation]:
    """Run both services for the block; those that are not there have published."""
    port = free_port()
    async with AsyncExitStack() as stack:
        config = place.config(f"127.0.0.1:{port}")
        service = await stack.enter_async_context(compose(config))
        await service.startup.run()
        with acting_as(ADA):
            await publish_services(service)
        server = await stack.enter_async_context(serve(place.keys, *service.bindings))
        service.runner.start()
        await stack.enter_async_context(running_artifacts(place, server.address, port))
        channel = await stack.enter_async_context(server.channel())
        yield Installation(place, service, channel)


@asynccontextmanager
async def running_artifacts(place: Place, tenant_address: str, port: int) -> AsyncGenerator[None]:
    """Run the artifacts service for the block."""
    async with (
        open_channel(tenant_address, place.keys.signer("artifacts")) as to_tenant,
        connect_data_plane(to_tenant, "artifacts", 20) as data,
        _artifacts(place, data, port),
    ):
        yield


@asynccontextmanager
async def _artifacts(place: Place, data: DataPlane, port: int) -> AsyncGenerator[None]:
    pair = place.s3.keys
    store = StoreConfig(
        place.s3.endpoint, pair.access_key, pair.secret_key, place.bucket, "us-east-1"
    )
    async with ObjectStore(store) as objects:
        await objects.ensure_bucket()
        with artifacts.composition.compose(place.bucket, _COLLECTING, data, objects) as service:
            config = replace(place.keys.config("artifacts"), listen_port=port)
            server = Server(config, service.bindings, verifier_of(place.keys))
            await data.directory.ready()
            await server.start()
            await server.set_serving(True)
            try:
                yield
            finally:
                await server.stop(0.0)


async def another_provisioner(server: PostgresServer) -> str:
    """Add a provisioner of another name, with a management database; return its address."""
    name, database = f"owner_{secrets.token_hex(3)}", f"registry_{secrets.token_hex(3)}"
    password = secrets.token_hex(16)
    rules = server.data / "pg_hba.conf"
    text = rules.read_text()
    rules.write_text(f"host all {name} 127.0.0.1/32 scram-sha-256\n{text}")
    connection = await asyncpg.connect(server.superuser_url())
    try:
        await connection.execute("SELECT pg_reload_conf()")
        await connection.execute(
            f"CREATE ROLE {name} LOGIN CREATEDB CREATEROLE PASSWORD '{password}'"
        )
        await connection.execute(f"ALTER ROLE {name} SET createrole_self_grant = 'set, inherit'")
        await connection.execute(f"CREATE DATABASE {database} OWNER {name}")
        await connection.execute(f"REVOKE ALL ON DATABASE {database} FROM PUBLIC")
    finally:
        await connection.close()
    return f"postgresql://{name}:{password}@127.0.0.1:{server.port}/{database}"
