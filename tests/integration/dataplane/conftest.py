from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.integration.dataplane.registry import Registry

from dataplane.tenants import DataPlane, connect_data_plane
from interceptor.testing import RunningServer, serve
from servicekit.testing import Keys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from nagaya_local.parts.postgres import PostgresServer


@pytest.fixture
async def registry(postgres: PostgresServer) -> Registry:
    registry = Registry(postgres)
    await registry.create("")
    await registry.create("acme")
    return registry


@pytest.fixture
async def served(registry: Registry, tmp_path: Path) -> AsyncIterator[RunningServer]:
    async with serve(Keys(tmp_path), *registry.bindings()) as served:
        yield served


@pytest.fixture
async def data(served: RunningServer) -> AsyncIterator[DataPlane]:
    async with (
        served.workload_channel("runs") as channel,
        connect_data_plane(channel, "runs", budget=3) as data,
    ):
        await data.ready()
        yield data
