"""A tenant's database and a management database with the service's tables, for each test."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import asyncpg
import pytest
from tests.fixtures.databases import PASSWORD, create_database
from tests.integration.runs.desk import Desk
from tests.integration.runs.function_house import Host, hosting
from tests.integration.runs.house import NOWHERE, House, launcher_at
from tests.integration.runs.served import Client, FileServicer, ModelServicer

from dataplane.databases import MANAGEMENT, Databases
from dataplane.pools import ConnectionParameters
from dataplane.tenants import ManagementPool, TenantPools
from interceptor.server import Binding, bind
from interceptor.testing import RunningServer, serve
from nagaya.artifacts.v1 import artifact_service_pb2_grpc
from nagaya.llm_gateway.v1 import generation_service_pb2_grpc
from runs.api.servicer.bindings import bindings
from runs.api.servicer.pipelines import PipelineServicer
from runs.api.servicer.prompts import PromptServicer
from runs.api.servicer.runs import RunServicer
from runs.api.watch import RunWatcher, WatchTimeouts
from servicekit.call import acting_as
from servicekit.errors import PermissionDenied
from servicekit.identity import Principal
from servicekit.testing import Keys

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator
    from pathlib import Path

    import grpc

    from nagaya_local.parts.postgres import PostgresServer
    from nagaya_local.parts.temporal import TemporalServer
    from runs.api.launcher import Launcher


class Cluster:
    """The databases of one test: the tenant `acme`'s and the management database."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._suffix = secrets.token_hex(4)
        self.names = {MANAGEMENT: f"m_{self._suffix}"}

    async def create(self) -> None:
        superuser, owners = self._server.superuser_url(), ("tenant", "runs")
        await asyncio.gather(
            self.add_tenant("acme"),
            create_database(superuser, self.names[MANAGEMENT], "management", owners),
        )

    async def add_tenant(self, tenant_id: str) -> None:
        name = self.names[tenant_id] = f"t{len(self.names)}_{self._suffix}"
        await create_database(self._server.superuser_url(), name, "tenant", ("tenant", "runs"))
        connection = await asyncpg.connect(self.superuser_url(tenant_id))
        await connection.execute("INSERT INTO tenant_identity (tenant_id) VALUES ($1)", tenant_id)
        await connection.close()

    async def drop(self) -> None:
        connection = await asyncpg.connect(self._server.superuser_url())
        for name in self.names.values():
            await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await connection.close()

    async def resolve(self, tenant_id: str) -> ConnectionParameters:
        """Return how the service logs in, as the tenant service would."""
        if tenant_id not in self.names:
            raise PermissionDenied
        name = self.names[tenant_id]
        port = urlsplit(self._server.superuser_url()).port or 0
        role = f"{name}_runs"
        return ConnectionParameters("127.0.0.1", port, name, role, PASSWORD, 1, 20, "local")

    def superuser_url(self, tenant_id: str) -> str:
        return self._server.superuser_url(self.names[tenant_id])

    async def lock_out(self, tenant_id: str) -> None:
        """Close a database to everybody, as if its server were away."""
        connection = await asyncpg.connect(self._server.superuser_url())
        name = self.names[tenant_id]
        await connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name
        )
        await connection.close()

    async def let_in(self, tenant_id: str) -> None:
        """Open a database again."""
        connection = await asyncpg.connect(self._server.superuser_url())
        await connection.execute(f"ALTER DATABASE {self.names[tenant_id]} ALLOW_CONNECTIONS true")
        await connection.close()


@pytest.fixture
async def cluster(postgres: PostgresServer) -> AsyncGenerator[Cluster]:
    cluster = Cluster(postgres)
    await cluster.create()
    yield cluster
    await cluster.drop()


@pytest.fixture
async def databases(cluster: Cluster) -> AsyncGenerator[Databases]:
    databases = Databases(cluster.resolve, "runs", 30)
    yield databases
    databases.close()


@pytest.fixture
def tenants(databases: Databases) -> TenantPools:
    return TenantPools(databases)


@pytest.fixture
def management(databases: Databases) -> ManagementPool:
    return ManagementPool(databases)


@pytest.fixture
async def database(cluster: Cluster) -> AsyncGenerator[asyncpg.Connection[asyncpg.Record]]:
    """A connection to the tenant's database that may do anything."""
    connection = await asyncpg.connect(cluster.superuser_url("acme"))
    yield connection
    await connection.close()


@pytest.fixture
async def registry(cluster: Cluster) -> AsyncGenerator[asyncpg.Connection[asyncpg.Record]]:
    """A connection to the management database that may do anything."""
    connection = await asyncpg.connect(cluster.superuser_url(MANAGEMENT))
    yield connection
    await connection.close()


@pytest.fixture
def ada() -> Generator[Principal]:
    """The person on whose behalf a test calls the app."""
    principal = Principal("ada", None, frozenset({"*"}), frozenset({"*"}))
    with acting_as(principal):
        yield principal


@pytest.fixture
async def launcher(temporal: TemporalServer) -> Launcher:
    """A launcher whose workflows nobody works on."""
    return await launcher_at(temporal.address)


@pytest.fixture
async def stranded() -> Launcher:
    """A launcher that reaches no Temporal."""
    return await launcher_at(NOWHERE)


@pytest.fixture
def house(
    tenants: TenantPools, management: ManagementPool, launcher: Launcher, ada: Principal
) -> House:
    return House(tenants, management, launcher)


@pytest.fixture
async def host(tmp_path: Path) -> AsyncGenerator[Host]:
    """A pool of processes for functions."""
    async with hosting(tmp_path) as host:
        yield host


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


@pytest.fixture
def files() -> FileServicer:
    return FileServicer()  # pyright: ignore[reportAbstractUsage] - two of its methods are served


@pytest.fixture
def models() -> ModelServicer:
    return ModelServicer()  # pyright: ignore[reportAbstractUsage] - one of its methods is served


@pytest.fixture
async def peers(
    keys: Keys, files: FileServicer, models: ModelServicer
) -> AsyncGenerator[grpc.aio.Channel]:
    """A channel to a server that plays artifacts and llm-gateway."""
    add_files = artifact_service_pb2_grpc.add_ArtifactServiceServicer_to_server
    add_models = generation_service_pb2_grpc.add_GenerationServiceServicer_to_server
    played = (
        _only(
            bind(add_files, files, "nagaya.artifacts.v1.ArtifactService"),
            "GetArtifact",
            "BatchPutArtifacts",
            "BatchGetArtifacts",
        ),
        _only(bind(add_models, models, "nagaya.llm_gateway.v1.GenerationService"), "Resolve"),
    )
    async with serve(keys, *played) as served:
        yield served.workload_channel("runs")


@pytest.fixture
def desk(
    tenants: TenantPools,
    management: ManagementPool,
    launcher: Launcher,
    peers: grpc.aio.Channel,
    ada: Principal,
) -> Desk:
    return Desk(House(tenants, management, launcher, peers), peers)


@pytest.fixture
def other_desk(
    tenants: TenantPools, management: ManagementPool, launcher: Launcher, peers: grpc.aio.Channel
) -> Desk:
    """Another worker."""
    return Desk(House(tenants, management, launcher, peers), peers)


def _only(binding: Binding, *methods: str) -> Binding:
    return replace(binding, handlers={name: binding.handlers[name] for name in methods})


@pytest.fixture
async def served(
    keys: Keys,
    peers: grpc.aio.Channel,
    tenants: TenantPools,
    management: ManagementPool,
    launcher: Launcher,
) -> AsyncGenerator[RunningServer]:
    house = House(tenants, management, launcher, peers)
    services = bindings(
        PromptServicer(house.prompts, tenants),
        PipelineServicer(house.pipelines, tenants),
        RunServicer(house.runs, tenants, RunWatcher(tenants, WatchTimeouts(heartbeat=0.3))),
    )
    async with serve(keys, *services) as served:
        yield served


@pytest.fixture
def channel(served: RunningServer) -> grpc.aio.Channel:
    return served.channel(user_id="ada", tenants=["acme"])


@pytest.fixture
def client(channel: grpc.aio.Channel) -> Client:
    return Client(channel)
