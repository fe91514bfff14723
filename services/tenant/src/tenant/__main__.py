"""`python -m tenant`: serves the tenant service."""

from __future__ import annotations

from interceptor.server import Server
from servicekit import telemetry
from servicekit.identity import Verifier
from servicekit.process import run
from tenant.composition import compose
from tenant.config import Config


async def serve(config: Config) -> None:
    """Serve until SIGTERM or SIGINT."""
    telemetry.start("tenant", config.server)
    verifier = Verifier.from_file(config.server.jwks_file, config.server.issuer)
    async with compose(config) as tenant:

        async def prepare() -> None:
            await tenant.startup.run()
            tenant.keys.start(tenant.management)
            tenant.sweep.start()
            tenant.transfers.sweep.start()
            tenant.runner.start()
            tenant.deletion.schedule.start()
            tenant.backups.schedules.start()

        on_drain = tenant.watch_cache.close
        server = Server(config.server, tenant.bindings, verifier, on_drain=on_drain)
        await server.start()
        await server.run_until_signal(prepare())


def main() -> None:
    """Run the service until SIGTERM or SIGINT."""
    run("tenant", lambda: serve(Config.read()))


if __name__ == "__main__":
    main()
