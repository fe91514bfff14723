"""The tenant service on a management database of the test's own, without its gRPC face."""

from __future__ import annotations

import base64
import json
import secrets
from typing import TYPE_CHECKING

import asyncpg
import pytest
from tests.integration.tenant.harness import ADA, publish_both, started

from interceptor.testing import RunningServer, serve
from servicekit.call import acting_as
from servicekit.testing import Keys
from tenant.config import Config, DatabaseAddress
from tenant.domain.sealing import KeyRing
from tenant.servicer.bindings import bindings
from tenant.store.credentials import CredentialStore
from tenant.store.stores import Stores

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from tenant.app.service import Service


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


@pytest.fixture
def config(keys: Keys, management_url: str) -> Config:
    ring = {"active": "k1", "keys": {"k1": base64.b64encode(secrets.token_bytes(32)).decode()}}
    return Config(
        server=keys.config("tenant"),
        database=DatabaseAddress.parse(management_url),
        key_ring=json.dumps(ring),
        required_services=("runs", "artifacts"),
        connections_per_role=5,
        processes_per_service=2,
    )


@pytest.fixture
def stores(config: Config) -> Stores:
    return Stores(CredentialStore(KeyRing.parse(config.key_ring)))


@pytest.fixture
async def service(config: Config, stores: Stores) -> AsyncIterator[Service]:
    """A replica of the service to which runs and artifacts have published."""
    async with started(config, stores) as service:
        with acting_as(ADA):
            await publish_both(service)
        yield service


@pytest.fixture
def replica(config: Config, stores: Stores) -> Callable[[], AbstractAsyncContextManager[Service]]:
    """Starts one more replica on the same management database."""
    return lambda: started(config, stores)


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
async def served(service: Service, keys: Keys) -> AsyncIterator[RunningServer]:
    async with serve(keys, *bindings(service)) as served:
        yield served
