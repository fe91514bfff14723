"""`python -m llm_gateway`: serves the llm-gateway service."""

from __future__ import annotations

from dataplane import migrations
from dataplane.tenants import connect_data_plane
from interceptor.server import Server
from llm_gateway.app.gateway import Gateway
from llm_gateway.config import MIGRATIONS, Config
from llm_gateway.peers.artifacts import Artifacts
from llm_gateway.servicer.bindings import bindings
from llm_gateway.store.stores import Stores
from servicekit import telemetry
from servicekit.channel import open_channel
from servicekit.identity import Verifier, WorkloadSigner
from servicekit.process import run

SERVICE = "llm-gateway"


async def serve(config: Config) -> None:
    telemetry.start(SERVICE, config.server)
    signer = WorkloadSigner.from_file(SERVICE, config.server.workload_key_file)
    stores = Stores()
    async with (
        open_channel(config.tenant_address, signer) as tenant,
        open_channel(config.artifacts_address, signer) as artifacts,
        connect_data_plane(tenant, SERVICE, config.connections) as data,
        Gateway(config, stores, data, Artifacts(artifacts)) as gateway,
    ):

        async def prepare() -> None:
            await migrations.publish(tenant, SERVICE, migrations.read_migrations(MIGRATIONS))
            await data.ready()
            await gateway.ready()

        verifier = Verifier.from_file(config.server.jwks_file, config.server.issuer)
        server = Server(
            config.server, bindings(gateway, stores, data), verifier, on_drain=gateway.land
        )
        await server.start()
        await server.run_until_signal(prepare())


if __name__ == "__main__":
    run(SERVICE, lambda: serve(Config.read()))
