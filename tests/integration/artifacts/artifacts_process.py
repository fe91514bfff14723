"""The service in a process of its own, which a test can kill."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import uvloop
from tests.support.databases import TenantDatabases

from artifacts.composition import compose
from artifacts.config import CollectorConfig, StoreConfig
from artifacts.object_store.client import ObjectStore
from authentication.verifier import Verifier
from interceptor.server import Server
from servicekit.settings import ServerConfig


async def main(settings: dict[str, str]) -> None:
    config = ServerConfig(
        listen_host="127.0.0.1",
        listen_port=int(settings["port"]),
        metrics_port=0,
        drain_seconds=0.0,
        connection_age_seconds=900.0,
        reflection=False,
        jwks_file=Path(settings["jwks_file"]),
        issuer=settings["issuer"],
        workload_key_file=Path(),
        otlp_endpoint=None,
        log_level="info",
    )
    data = TenantDatabases.parse(settings["databases"]).data_plane(budget=40)
    async with ObjectStore(StoreConfig(**json.loads(settings["store"]))) as object_store:
        with compose("storage", CollectorConfig(3600, 60, 3600), data, object_store) as service:
            verifier = Verifier.from_file(config.jwks_file, config.issuer)
            server = Server(config, service.bindings, verifier)
            await server.start()
            await server.run_until_signal()


if __name__ == "__main__":
    uvloop.run(main(json.loads(sys.argv[1])))
