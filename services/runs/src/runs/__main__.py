"""`python -m runs`: serves the API of the runs service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from authentication.verifier import open_verifier
from dataplane import migrations
from dataplane.tenants import connect_data_plane
from interceptor.server import Server
from runs.composition import Channels, compose
from runs.config import MIGRATIONS, Config
from runs.temporal.client import connect
from runs.temporal.renewal import renewing
from servicekit import telemetry
from servicekit.channel import open_channel
from servicekit.identity import WorkloadSigner
from servicekit.process import run

if TYPE_CHECKING:
    import grpc

    from dataplane.tenants import DataPlane
    from monitoring.probes import Probes
    from runs.composition import Composition


async def serve(config: Config) -> None:
    """Serve until SIGTERM or SIGINT."""
    probes = telemetry.start("runs", config.server)
    signer = WorkloadSigner.from_file("runs", config.server.workload_key_file)
    least = migrations.least_number(migrations.read_migrations(MIGRATIONS))
    client = await connect(config.temporal)
    async with (
        renewing(client),
        open_channel(config.tenant_address, signer) as tenant,
        open_channel(config.artifacts_address, signer) as artifacts,
        open_channel(config.llm_gateway_address, signer) as gateway,
        connect_data_plane(tenant, "runs", config.connections, least) as data,
    ):
        made = compose(config, client, Channels(tenant, artifacts, gateway), data)
        await _run_until_signal(config, tenant, data, made, probes)


async def _run_until_signal(
    config: Config,
    tenant: grpc.aio.Channel,
    data: DataPlane,
    made: Composition,
    probes: Probes,
) -> None:
    """Serve at once; become healthy once tenant has the migrations and the tenants are known."""

    async def prepare() -> None:
        with probes.readiness.waiting("tenant, which is to take the migrations"):
            await migrations.publish(tenant, "runs", migrations.read_migrations(MIGRATIONS))
        with probes.readiness.waiting("the registry of tenants, and the management database"):
            await data.ready()
        made.start()

    async with open_verifier(config.server, config.oidc) as verifier:
        server = Server(
            config.server, list(made.services), verifier, on_drain=made.stop, probes=probes
        )
        await server.start()
        await server.run_until_signal(prepare())


def main() -> None:
    """Run the service until SIGTERM or SIGINT."""
    run("runs", lambda: serve(Config.read()))


if __name__ == "__main__":
    main()
