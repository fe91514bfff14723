"""python -m runs: serves the runs service."""

from __future__ import annotations

from dataplane import migrations
from dataplane.tenants import connect_data_plane
from interceptor.server import Server
from runs.app.runs import Runs
from runs.config import MIGRATIONS, Config
from runs.launcher import Launcher, connect
from runs.peers.artifacts import Artifacts
from runs.peers.llm_gateway import LlmGateway
from runs.relay.visits import Relay
from runs.servicer.bindings import bindings
from runs.store.stores import Stores
from runs.watch import Watch
from servicekit import telemetry
from servicekit.channel import open_channel
from servicekit.identity import Verifier, WorkloadSigner
from servicekit.process import run


async def serve(config: Config) -> None:
    telemetry.start("runs", config.server)
    signer = WorkloadSigner.from_file("runs", config.server.workload_key_file)
    launcher = Launcher(await connect(config.temporal), config.temporal.task_queue)
    stores = Stores()
    async with (
        open_channel(config.tenant_address, signer) as tenant,
        open_channel(config.artifacts_address, signer) as artifacts,
        open_channel(config.llm_gateway_address, signer) as gateway,
        connect_data_plane(tenant, "runs", config.connections) as data,
    ):
        models = LlmGateway(gateway)
        runs = Runs(data, stores, Artifacts(artifacts), models, launcher)
        watch = Watch(data.tenants, stores.runs, stores.events)
        relay = Relay(data, stores, launcher, models)

        async def prepare() -> None:
            await migrations.publish(tenant, "runs", migrations.read_migrations(MIGRATIONS))
            await data.ready()
            relay.start()

        async def drain() -> None:
            watch.close()
            await relay.stop()

        verifier = Verifier.from_file(config.server.jwks_file, config.server.issuer)
        services = bindings(data.tenants, stores, runs, watch)
        server = Server(config.server, services, verifier, on_drain=drain)
        await server.start()
        await server.run_until_signal(prepare())


if __name__ == "__main__":
    run("runs", lambda: serve(Config.read()))
