"""`python -m tenant`: serves the tenant service."""

from __future__ import annotations

from authentication.verifier import open_verifier
from interceptor.server import Server
from servicekit import telemetry
from servicekit.process import run
from tenant.app.installation_metrics import InstallationMetrics
from tenant.composition import compose
from tenant.config import Config


async def serve(config: Config) -> None:
    """Serve until SIGTERM or SIGINT."""
    probes = telemetry.start("tenant", config.server)
    async with (
        open_verifier(config.server, config.oidc) as verifier,
        compose(config) as tenant,
    ):
        installation_metrics = InstallationMetrics(tenant.management)

        async def prepare() -> None:
            with probes.readiness.waiting("PostgreSQL, and the migrations of the services"):
                await tenant.startup.run()
            tenant.keys.start(tenant.management)
            tenant.runner.start()
            for task in (*tenant.periodic_tasks, installation_metrics.task):
                task.start()

        on_drain = tenant.watch_cache.close
        server = Server(config.server, tenant.bindings, verifier, on_drain=on_drain, probes=probes)
        await server.start()
        await server.run_until_signal(prepare())
        await installation_metrics.task.stop()


def main() -> None:
    """Run the service until SIGTERM or SIGINT."""
    run("tenant", lambda: serve(Config.read()))


if __name__ == "__main__":
    main()
