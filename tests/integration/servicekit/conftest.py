from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.integration.servicekit.registry import Registry

from dataplane.tenants import DataPlane, connect_data_plane
from servicekit.testing import Keys, Served, serve

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
async def served(registry: Registry, tmp_path: Path) -> AsyncIterator[Served]:
    async with serve(Keys(tmp_path), *registry.bindings()) as served:
        yield served


@pytest.fixture
async def data(served: Served) -> AsyncIterator[DataPlane]:
    async with (
        served.workload_channel("runs") as channel,
        connect_data_plane(channel, "runs", budget=3) as data,
    ):
        await data.ready()
        yield data
