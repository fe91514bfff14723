"""python -m artifacts: serves the artifacts service."""

from __future__ import annotations

from artifacts.app.service import Service
from artifacts.blobs.probe import wait_for_store
from artifacts.blobs.store import Blobs
from artifacts.config import MIGRATIONS, Config
from artifacts.servicer.bindings import bindings
from dataplane import migrations
from dataplane.tenants import connect_data_plane
from interceptor.server import Server
from servicekit import telemetry
from servicekit.channel import open_channel
from servicekit.identity import Verifier, WorkloadSigner
from servicekit.process import run


async def serve(config: Config) -> None:
    telemetry.start("artifacts", config.server)
    signer = WorkloadSigner.from_file("artifacts", config.server.workload_key_file)
    async with (
        open_channel(config.tenant_address, signer) as tenant,
        connect_data_plane(tenant, "artifacts", config.connections) as data,
        Blobs(config.store) as blobs,
    ):
        service = Service(config.store.bucket, config.collector, data, blobs)

        async def prepare() -> None:
            service.keys.folds_case = await wait_for_store(blobs)
            await migrations.publish(tenant, "artifacts", migrations.read_migrations(MIGRATIONS))
            await data.ready()
            service.collector.start()

        verifier = Verifier.from_file(config.server.jwks_file, config.server.issuer)
        server = Server(
            config.server,
            bindings(service),
            verifier,
            on_drain=service.collector.stop,
            streaming=True,
        )
        await server.start()
        await server.run_until_signal(prepare())
        service.close()


if __name__ == "__main__":
    run("artifacts", lambda: serve(Config.read()))
