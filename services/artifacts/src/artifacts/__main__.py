"""`python -m artifacts`: serves the artifacts service."""

from __future__ import annotations

from artifacts.composition import compose
from artifacts.config import MIGRATIONS, Config
from artifacts.object_store.client import ObjectStore
from artifacts.object_store.probe import wait_for_store
from authentication.verifier import open_verifier
from dataplane import migrations
from dataplane.tenants import connect_data_plane
from interceptor.server import Server
from servicekit import telemetry
from servicekit.channel import open_channel
from servicekit.identity import WorkloadSigner
from servicekit.process import run


async def serve(config: Config) -> None:
    """Serve until SIGTERM or SIGINT."""
    probes = telemetry.start("artifacts", config.server)
    signer = WorkloadSigner.from_file("artifacts", config.server.workload_key_file)
    files = migrations.read_migrations(MIGRATIONS)
    least = migrations.least_number(files)
    async with (
        open_channel(config.tenant_address, signer) as tenant,
        connect_data_plane(tenant, "artifacts", config.connections, least) as data,
        ObjectStore(config.store) as objects,
        open_verifier(config.server, config.oidc) as verifier,
    ):
        with compose(config.store.bucket, config.collector, data, objects) as service:

            async def prepare() -> None:
                with probes.readiness.waiting(f"the object store at {objects.endpoint}"):
                    service.layout.folds_case = await wait_for_store(objects)
                with probes.readiness.waiting("tenant, which is to take the migrations"):
                    await migrations.publish(tenant, "artifacts", files)
                with probes.readiness.waiting("the registry of tenants"):
                    await data.ready()
                service.collector.start()

            stop = service.collector.stop
            server = Server(config.server, service.bindings, verifier, on_drain=stop, probes=probes)
            await server.start()
            await server.run_until_signal(prepare())
            await service.stored_bodies.flush()


def main() -> None:
    """Run the service until SIGTERM or SIGINT."""
    run("artifacts", lambda: serve(Config.read()))


if __name__ == "__main__":
    main()
