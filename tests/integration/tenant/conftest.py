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

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from tenant.composition import Composition


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
async def service(config: Config) -> AsyncIterator[Composition]:
    """A replica of the service to which runs and artifacts have published."""
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
