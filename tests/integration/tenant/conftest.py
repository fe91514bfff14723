"""The tenant service on a management database of the test's own, without its gRPC face."""

from __future__ import annotations

import base64
import json
import secrets
from typing import TYPE_CHECKING

import asyncpg
import pytest
from tests.integration.tenant.backup_stack import backup_stack
from tests.integration.tenant.harness import ADA, publish_both, started
from tests.support.tenant_data import MemoryPeers

from interceptor.testing import RunningServer, serve
from nagaya_local.machine.ports import free_port
from nagaya_local.machine.running import running_from_sync
from nagaya_local.parts.postgres import PostgresServer
from servicekit.call import acting_as
from servicekit.testing import Keys
from tenant.config import Config, ProvisionerAddress, management_address
from tenant.store import servers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from tests.integration.tenant.backup_stack import BackupStack

    from nagaya_local.parts.s3 import S3Server
    from tenant.composition import Composition


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


@pytest.fixture
def own_config(keys: Keys, management_url: str) -> Config:
    """The configuration of a service that knows no other one."""
    key_ring_file = keys.folder / "keyring.json"
    ring = {"active": "k1", "keys": {"k1": base64.b64encode(secrets.token_bytes(32)).decode()}}
    key_ring_file.write_text(json.dumps(ring))
    key_ring_file.chmod(0o600)
    return Config(
        server=keys.config("tenant"),
        database=management_address(management_url),
        key_ring_file=key_ring_file,
        required_services=("runs", "artifacts"),
        connections_per_role=5,
        processes_per_service=2,
    )


@pytest.fixture
def config(own_config: Config) -> Config:
    return own_config


@pytest.fixture
def peers() -> MemoryPeers:
    return MemoryPeers()


@pytest.fixture
async def config_with_peers(
    own_config: Config, keys: Keys, peers: MemoryPeers
) -> AsyncIterator[Config]:
    """The configuration of a service that knows `peers`."""
    async with peers.serving(keys, own_config) as known:
        yield known


@pytest.fixture
async def service(config: Config) -> AsyncIterator[Composition]:
    """A replica to which runs and artifacts have published; its runner has not been started."""
    async with started(config) as service:
        with acting_as(ADA):
            await publish_both(service)
        yield service


@pytest.fixture
def replica(config: Config) -> Callable[[], AbstractAsyncContextManager[Composition]]:
    """Starts one more replica on the same management database."""
    return lambda: started(config)


@pytest.fixture(autouse=True)
def as_ada() -> Iterator[None]:
    with acting_as(ADA):
        yield


@pytest.fixture
async def management(management_url: str) -> AsyncIterator[asyncpg.Connection]:
    """The provisioner's own look into the management database."""
    connection = await asyncpg.connect(management_url)
    yield connection
    await connection.close()


@pytest.fixture
async def server(service: Composition, keys: Keys) -> AsyncIterator[RunningServer]:
    async with serve(keys, *service.bindings) as server:
        yield server


@pytest.fixture
async def stack(
    config: Config,
    keys: Keys,
    postgres: PostgresServer,
    s3: S3Server,
    parts_folder: Path,
    tmp_path: Path,
) -> AsyncIterator[BackupStack]:
    """This service and artifacts, with backups in a folder."""
    async with backup_stack(config, keys, postgres, s3, parts_folder, tmp_path) as stack:
        yield stack


@pytest.fixture(scope="session")
def second_postgres(servers_folder: Path, parts_folder: Path) -> Iterator[PostgresServer]:
    """Another PostgreSQL server."""
    server = PostgresServer(servers_folder / "second-postgres", free_port(), durable=False)
    with running_from_sync(server, parts_folder / "second-postgres.log"):
        yield server


@pytest.fixture
async def second_server(
    service: Composition, config: Config, second_postgres: PostgresServer
) -> PostgresServer:
    """The other server, registered as `second`."""
    address = ProvisionerAddress.parse(second_postgres.url)
    async with service.management.connection() as connection:
        await servers.set_address(connection, service.keys.ring, "second", address)
    await service.template.prepare(await service.servers.of("second"))
    await service.template.refresh()
    return second_postgres
