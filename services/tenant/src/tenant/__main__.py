"""`python -m tenant`: serves the tenant service."""

from __future__ import annotations

from interceptor.server import Server
from servicekit import telemetry
from servicekit.identity import Verifier
from servicekit.process import run
from tenant.app.service import Service
from tenant.config import Config
from tenant.domain.sealing import KeyRing
from tenant.servicer.bindings import bindings
from tenant.store.credentials import CredentialStore
from tenant.store.stores import Stores


async def serve(config: Config) -> None:
    telemetry.start("tenant", config.server)
    service = Service(config, Stores(CredentialStore(KeyRing.parse(config.key_ring))))
    verifier = Verifier.from_file(config.server.jwks_file, config.server.issuer)
    server = Server(config.server, bindings(service), verifier, on_drain=service.directory.close)
    await server.start()
    try:
        await server.run_until_signal(service.prepare())
    finally:
        await service.close()


if __name__ == "__main__":
    run("tenant", lambda: serve(Config.read()))
