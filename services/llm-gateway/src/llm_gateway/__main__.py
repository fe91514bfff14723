"""`python -m llm_gateway`: serves the llm-gateway service."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack

from authentication.verifier import open_verifier
from dataplane import migrations
from dataplane.tenants import connect_data_plane
from interceptor.server import Server
from llm_gateway.app.transient_errors import TRANSIENT
from llm_gateway.composition import compose
from llm_gateway.config import MIGRATIONS, Config
from llm_gateway.peers.gateways import Gateways
from servicekit import telemetry
from servicekit.channel import open_channel
from servicekit.identity import WorkloadSigner
from servicekit.process import run
from servicekit.retries import RetryLog, retry

SERVICE = "llm-gateway"
_log = logging.getLogger(__name__)


async def serve(config: Config) -> None:
    probes = telemetry.start(SERVICE, config.server)
    signer = WorkloadSigner.from_file(SERVICE, config.server.workload_key_file)
    files = migrations.read_migrations(MIGRATIONS)
    least = migrations.least_number(files)
    async with (
        open_channel(config.tenant_address, signer) as tenant,
        open_channel(config.artifacts_address, signer) as artifacts,
        connect_data_plane(tenant, SERVICE, config.connections, least) as data,
        Gateways(signer, config.endpoint.tls) as gateways,
        compose(config, data, artifacts, gateways) as service,
        service.in_flight.renewing_leases(),
        open_verifier(config.server, config.oidc) as verifier,
        AsyncExitStack() as background,
    ):
        retry_log = RetryLog(_log, "catalog.unavailable", "the catalogue cannot be read")

        async def prepare() -> None:
            with probes.readiness.waiting("tenant, which is to take the migrations"):
                await migrations.publish(tenant, SERVICE, files)
            with probes.readiness.waiting("the registry of tenants, and the management database"):
                await data.ready()
                await retry(service.cache.refresh, TRANSIENT, retry_log)
            service.cache.task.start()
            background.push_async_callback(service.cache.task.stop)
            await background.enter_async_context(service.processes.announcing())
            service.poller.start()
            background.push_async_callback(service.poller.stop)

        async def drain() -> None:
            await service.in_flight.drain(config.shutdown_grace_seconds)

        background.push_async_callback(drain)
        server = Server(config.server, service.bindings, verifier, on_drain=drain, probes=probes)
        await server.start()
        await server.run_until_signal(prepare())


def main() -> None:
    """Run the service until SIGTERM or SIGINT."""
    run(SERVICE, lambda: serve(Config.read()))


if __name__ == "__main__":
    main()
