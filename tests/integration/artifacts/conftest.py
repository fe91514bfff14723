"""The service on a real socket, over real databases and a real object store."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import pytest
from tests.support.artifacts_client import ArtifactsClient, acting_for
from tests.support.databases import TenantDatabases

from artifacts.composition import Composition, compose
from artifacts.config import CollectorConfig, StoreConfig
from artifacts.object_store.client import ObjectStore
from dataplane.databases import MANAGEMENT
from interceptor.testing import RunningServer, serve
from nagaya_local.machine.ports import free_port
from nagaya_local.machine.running import running_from_sync
from nagaya_local.parts.s3 import S3Server
from servicekit.testing import Keys

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator
    from pathlib import Path

    from dataplane.tenants import DataPlane
    from nagaya_local.parts.postgres import PostgresServer

COLLECTING = CollectorConfig(upload_seconds=3600, grace_seconds=60, interval_seconds=3600)


@pytest.fixture(scope="session")
def tenant_databases(postgres: PostgresServer) -> TenantDatabases:
    return asyncio.run(TenantDatabases.create(postgres, "artifacts", "acme", "globex"))


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="session")
def s3(parts_folder: Path) -> Iterator[S3Server]:
    """A server for these tests alone: a sweep deletes what is not in their own databases."""
    folder = parts_folder / "artifacts"
    folder.mkdir()
    server = S3Server(folder / "s3", folder / "s3-keys.json", free_port(), stale_ms=100)
    with running_from_sync(server, folder / "s3.log"):
        yield server


@pytest.fixture(scope="session")
def store(s3: S3Server) -> StoreConfig:
    pair = s3.keys
    return StoreConfig(s3.endpoint, pair.access_key, pair.secret_key, "storage", "us-east-1")


@pytest.fixture(scope="session")
def objects(s3: S3Server, parts_folder: Path) -> Path:
    """The folder under which an object lies at its path."""
    return parts_folder / "artifacts" / "s3"


@pytest.fixture
async def data(tenant_databases: TenantDatabases) -> AsyncGenerator[DataPlane]:
    plane = tenant_databases.data_plane(budget=40)
    yield plane
    for databases in (plane.tenants._databases, plane.management._databases):
        databases.close()
        await databases.settled()
    await asyncio.sleep(0)  # lets the transports close


@pytest.fixture
async def object_store(store: StoreConfig) -> AsyncGenerator[ObjectStore]:
    async with ObjectStore(store) as object_store:
        yield object_store


@pytest.fixture
async def service(data: DataPlane, object_store: ObjectStore) -> AsyncGenerator[Composition]:
    with compose("storage", COLLECTING, data, object_store) as service:
        yield service
        await service.stored_bodies.flush()


@pytest.fixture
async def server(service: Composition, keys: Keys) -> AsyncGenerator[RunningServer]:
    async with serve(keys, *service.bindings) as server:
        yield server


@pytest.fixture
async def run_id(tenant_databases: TenantDatabases) -> str:
    """A run of acme's that waits for its input."""
    return await tenant_databases.create_run("acme")


@pytest.fixture
async def client(
    server: RunningServer, objects: Path, run_id: str
) -> AsyncGenerator[ArtifactsClient]:
    """The service as the worker of Ada's run sees it."""
    async with server.channel(acting_for("acme", server.keys)) as channel:
        yield ArtifactsClient(channel, objects, "acme", run_id)


@pytest.fixture
async def gateway(
    server: RunningServer, objects: Path, run_id: str
) -> AsyncGenerator[ArtifactsClient]:
    """The service as llm-gateway sees it, when the worker asks it something."""
    async with server.channel(acting_for("acme", server.keys, "llm-gateway")) as channel:
        yield ArtifactsClient(channel, objects, "acme", run_id)


@pytest.fixture
async def person(
    server: RunningServer, objects: Path, run_id: str
) -> AsyncGenerator[ArtifactsClient]:
    """The service as acme's Ada sees it, where she may write."""
    async with server.channel(tenants=["acme"], scope="artifacts.*") as channel:
        yield ArtifactsClient(channel, objects, "acme", run_id, step="input")


@pytest.fixture
async def other_tenant(
    server: RunningServer, tenant_databases: TenantDatabases, objects: Path
) -> AsyncGenerator[ArtifactsClient]:
    """The service as the worker of a run of globex's sees it."""
    async with server.channel(acting_for("globex", server.keys)) as channel:
        yield ArtifactsClient(
            channel, objects, "globex", await tenant_databases.create_run("globex")
        )


@pytest.fixture
async def database(
    tenant_databases: TenantDatabases,
) -> AsyncGenerator[asyncpg.Connection[asyncpg.Record]]:
    """A connection to acme's database that may do anything."""
    connection = await asyncpg.connect(tenant_databases.superuser_url("acme"))
    yield connection
    await connection.close()


@pytest.fixture
async def registry(
    tenant_databases: TenantDatabases,
) -> AsyncGenerator[asyncpg.Connection[asyncpg.Record]]:
    """A connection to the management database that may do anything."""
    connection = await asyncpg.connect(tenant_databases.superuser_url(MANAGEMENT))
    yield connection
    await connection.close()
