"""`python -m runs`: serves the API of the runs service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataplane import migrations
from dataplane.pending_work_poller import PendingWorkPoller
from dataplane.pending_work_scheduler import PendingWorkScheduler
from dataplane.tenants import connect_data_plane
from interceptor.server import Server
from runs.api.app.model_check import ModelCheck
from runs.api.app.pipelines import Pipelines
from runs.api.app.prompts import Prompts
from runs.api.app.run_finalizer import RunFinalizer
from runs.api.app.runs import Runs
from runs.api.launcher import Launcher
from runs.api.relay.outbox import OutboxRelay
from runs.api.relay.reconciler import Reconciler
from runs.api.relay.relay import Relay
from runs.api.relay.usage import UsageChecker
from runs.api.servicer.bindings import bindings
from runs.api.servicer.pipelines import PipelineServicer
from runs.api.servicer.prompts import PromptServicer
from runs.api.servicer.runs import RunServicer
from runs.api.servicer.tenant_data import tenant_data_servicer
from runs.api.watch import RunWatcher
from runs.config import MIGRATIONS, Config
from runs.peers.artifacts import Artifacts
from runs.peers.llm_gateway import LlmGateway
from runs.store.pending_work import PENDING_WORK
from runs.temporal.client import connect
from servicekit import telemetry
from servicekit.channel import open_channel
from servicekit.identity import Verifier, WorkloadSigner
from servicekit.process import run

if TYPE_CHECKING:
    import grpc

    from dataplane.tenants import DataPlane
    from interceptor.server import Binding


async def serve(config: Config) -> None:
    """Serve until SIGTERM or SIGINT."""
    telemetry.start("runs", config.server)
    signer = WorkloadSigner.from_file("runs", config.server.workload_key_file)
    least = migrations.least_number(migrations.read_migrations(MIGRATIONS))
    client = await connect(config.temporal)
    launcher = Launcher(client, config.temporal.task_queue)
    async with (
        open_channel(config.tenant_address, signer) as tenant,
        open_channel(config.artifacts_address, signer) as artifacts_channel,
        open_channel(config.llm_gateway_address, signer) as gateway_channel,
        connect_data_plane(tenant, "runs", config.connections, least) as data,
    ):
        tenants = data.tenants
        gateway = LlmGateway(gateway_channel)
        finalizer = RunFinalizer(tenants, launcher)
        scheduler = PendingWorkScheduler(PENDING_WORK, tenants, data.management)
        runs = Runs(
            tenants,
            scheduler,
            Artifacts(artifacts_channel, data.directory.path_prefix),
            ModelCheck(gateway),
            launcher,
            finalizer,
        )
        watcher = RunWatcher(tenants)
        relay = Relay(
            tenants,
            OutboxRelay(tenants, launcher, finalizer),
            Reconciler(tenants, launcher, finalizer),
            UsageChecker(tenants, gateway),
        )
        services = bindings(
            PromptServicer(Prompts(tenants), tenants),
            PipelineServicer(Pipelines(tenants), tenants),
            RunServicer(runs, tenants, watcher),
            tenant_data_servicer(client, data, scheduler),
        )
        poller = PendingWorkPoller(PENDING_WORK, data, relay.handle)
        await _run_until_signal(config, tenant, data, services, watcher, poller)


async def _run_until_signal(
    config: Config,
    tenant: grpc.aio.Channel,
    data: DataPlane,
    services: list[Binding],
    watcher: RunWatcher,
    poller: PendingWorkPoller,
) -> None:
    """Serve at once; become healthy once tenant has the migrations and the tenants are known."""

    async def prepare() -> None:
        await migrations.publish(tenant, "runs", migrations.read_migrations(MIGRATIONS))
        await data.ready()
        poller.start()

    async def drain() -> None:
        watcher.close()
        await poller.stop()

    verifier = Verifier.from_file(config.server.jwks_file, config.server.issuer)
    server = Server(config.server, services, verifier, on_drain=drain)
    await server.start()
    await server.run_until_signal(prepare())


if __name__ == "__main__":
    run("runs", lambda: serve(Config.read()))
