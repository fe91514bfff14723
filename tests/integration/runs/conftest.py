"""A tenant's database and a management database with the service's tables, for each test."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import asyncpg
import pytest
from tests.integration.runs.steered_runs import SteeredRuns
from tests.support.databases import TenantDatabases
from tests.support.function_host import FunctionHost, running_function_host
from tests.support.runs_client import RunsClient
from tests.support.runs_peers import FakeArtifacts, FakeLlmGateway
from tests.support.runs_service import NOWHERE, RunsService, launcher_at
from tests.support.runs_worker import RunsWorker
from tests.support.schedules import connect_to
from tests.support.webhook_receiver import PlayedSecrets, Receiver, receiving

from dataplane.databases import MANAGEMENT, Databases
from dataplane.tenants import ManagementPool, TenantPools
from interceptor.server import Binding, bind
from interceptor.testing import RunningServer, serve
from nagaya.artifacts.v1 import artifact_service_pb2_grpc
from nagaya.llm_gateway.v1 import generation_service_pb2_grpc
from runs.api.app.tenant_limits import TenantLimitChanges
from runs.api.relay.webhooks import WebhookRelay
from runs.api.schedule_worker import ScheduleActivities, make_worker
from runs.api.servicer.approvals import ApprovalServicer
from runs.api.servicer.bindings import bindings
from runs.api.servicer.pipelines import PipelineServicer
from runs.api.servicer.prompts import PromptServicer
from runs.api.servicer.runs import RunServicer
from runs.api.servicer.schedules import ScheduleServicer
from runs.api.servicer.tenant_limits import TenantLimitServicer
from runs.api.servicer.webhooks import WebhookServicer
from runs.api.step_text import StepTextWatcher
from runs.api.watch import RunWatcher, WatchTimeouts
from runs.peers.webhook_receivers import WebhookReceivers
from runs.tenant_limit_cache import TenantLimitCache
from servicekit.call import acting_as
from servicekit.identity import Principal
from servicekit.testing import Keys
from tenantdata.servicer import TenantDataServicer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator
    from pathlib import Path

    import grpc

    from nagaya_local.parts.postgres import PostgresServer
    from nagaya_local.parts.temporal import TemporalServer
    from runs.api.launcher import Launcher


@pytest.fixture(scope="session")
def templates(postgres: PostgresServer) -> TenantDatabases:
    async def create() -> TenantDatabases:
        made = await TenantDatabases.create(postgres, "runs", "acme", connection_limit=20)
        await made.keep_as_templates()
        return made

    return asyncio.run(create())


@pytest.fixture
async def tenant_databases(templates: TenantDatabases) -> AsyncGenerator[TenantDatabases]:
    made = await templates.restored()
    yield made
    await made.drop()


@pytest.fixture
async def databases(tenant_databases: TenantDatabases) -> AsyncGenerator[Databases]:
    databases = Databases(tenant_databases.resolve, "runs", 30)
    yield databases
    databases.close()
    await databases.settled()


@pytest.fixture
def tenants(databases: Databases) -> TenantPools:
    return TenantPools(databases)


@pytest.fixture
def management(databases: Databases) -> ManagementPool:
    return ManagementPool(databases)


@pytest.fixture
async def database(
    tenant_databases: TenantDatabases,
) -> AsyncGenerator[asyncpg.Connection[asyncpg.Record]]:
    """A connection to the tenant's database that may do anything."""
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
async def unreachable_launcher() -> Launcher:
    """A launcher that reaches no Temporal."""
    return await launcher_at(NOWHERE)


@pytest.fixture
def service(
    tenants: TenantPools, management: ManagementPool, launcher: Launcher, ada: Principal
) -> RunsService:
    return RunsService(tenants, management, launcher, secrets=PlayedSecrets())


@pytest.fixture
async def schedule_worker(
    service: RunsService, temporal: TemporalServer, launcher: Launcher
) -> AsyncGenerator[None]:
    """A process works on the times of schedules."""
    client, queue = await connect_to(temporal), f"{launcher._task_queue}-schedules"
    async with make_worker(client, queue, ScheduleActivities(service.scheduled_runs)):
        yield


@pytest.fixture
async def receiver() -> AsyncGenerator[Receiver]:
    """A receiver of webhooks."""
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
async def webhook_relay(service: RunsService) -> AsyncGenerator[WebhookRelay]:
    """What sends events to receivers on loopback."""
    receivers = WebhookReceivers(service.receivers)
    yield WebhookRelay(service.tenants, service.secrets, receivers, 3)
    await receivers.close()


@pytest.fixture
async def host(tmp_path: Path) -> AsyncGenerator[FunctionHost]:
    """A pool of processes for functions."""
    async with running_function_host(tmp_path) as host:
        yield host


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


@pytest.fixture
def files() -> FakeArtifacts:
    return FakeArtifacts()  # pyright: ignore[reportAbstractUsage] - two of its methods are served


@pytest.fixture
def models() -> FakeLlmGateway:
    return FakeLlmGateway()  # pyright: ignore[reportAbstractUsage] - one of its methods is served


@pytest.fixture
async def peers(
    keys: Keys, files: FakeArtifacts, models: FakeLlmGateway
) -> AsyncGenerator[grpc.aio.Channel]:
    """A channel to a server that plays artifacts and llm-gateway."""
    add_files = artifact_service_pb2_grpc.add_ArtifactServiceServicer_to_server
    add_models = generation_service_pb2_grpc.add_GenerationServiceServicer_to_server
    played = (
        _only(
            bind(add_files, files, "nagaya.artifacts.v1.ArtifactService"),
            "GetArtifact",
            "BatchPutArtifacts",
            "CopyArtifact",
            "BatchGetArtifacts",
        ),
        _only(
            bind(add_models, models, "nagaya.llm_gateway.v1.GenerationService"),
            "Resolve",
            "WatchCall",
        ),
    )
    async with serve(keys, *played) as server:
        yield server.workload_channel("runs")


@pytest.fixture
def worker(
    tenants: TenantPools,
    management: ManagementPool,
    launcher: Launcher,
    peers: grpc.aio.Channel,
    ada: Principal,
) -> RunsWorker:
    return RunsWorker(RunsService(tenants, management, launcher, peers), peers)


@pytest.fixture
def other_worker(
    tenants: TenantPools, management: ManagementPool, launcher: Launcher, peers: grpc.aio.Channel
) -> RunsWorker:
    """Another worker."""
    return RunsWorker(RunsService(tenants, management, launcher, peers), peers)


@pytest.fixture
async def steered(
    temporal: TemporalServer,
    tenants: TenantPools,
    management: ManagementPool,
    peers: grpc.aio.Channel,
    ada: Principal,
) -> AsyncGenerator[SteeredRuns]:
    runs = SteeredRuns(tenants, management, peers)
    async with runs.working(temporal.address):
        yield runs


def _only(binding: Binding, *methods: str) -> Binding:
    return replace(binding, handlers={name: binding.handlers[name] for name in methods})


@pytest.fixture
async def server(
    keys: Keys,
    peers: grpc.aio.Channel,
    tenants: TenantPools,
    management: ManagementPool,
    launcher: Launcher,
) -> AsyncGenerator[RunningServer]:
    service = RunsService(tenants, management, launcher, peers, PlayedSecrets())
    watcher = RunWatcher(tenants, WatchTimeouts(heartbeat=0.3))
    texts = StepTextWatcher(tenants, watcher, service.gateway, heartbeat_seconds=0.3)
    limits = TenantLimitCache(management)
    services = bindings(
        PromptServicer(service.prompts, tenants),
        PipelineServicer(service.pipelines, service.applying, tenants),
        RunServicer(
            service.runs,
            service.forks,
            service.steering,
            service.bulk,
            tenants,
            watcher,
            texts,
        ),
        ApprovalServicer(service.approvals, tenants),
        ScheduleServicer(service.schedules, tenants),
        WebhookServicer(service.webhooks, tenants),
        TenantLimitServicer(TenantLimitChanges(management, limits), management, limits.of),
        TenantDataServicer((), ()),
    )
    async with serve(keys, *services) as server:
        yield server


@pytest.fixture
def channel(server: RunningServer) -> grpc.aio.Channel:
    return server.channel(user_id="ada", tenants=["acme"])


@pytest.fixture
def client(channel: grpc.aio.Channel) -> RunsClient:
    return RunsClient(channel)
