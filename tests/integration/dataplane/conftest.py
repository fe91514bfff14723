from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.integration.dataplane.registry import Registry
from tests.integration.dataplane.work_tables import KINDS, PLAIN, SQL, Tables
from tests.support.postgres import drop_all_but, list_databases

from dataplane.audit_chainer import AuditChainer
from dataplane.tenants import DataPlane, connect_data_plane
from interceptor.testing import RunningServer, serve
from servicekit.testing import Keys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from nagaya_local.parts.postgres import PostgresServer


@pytest.fixture
async def registry(postgres: PostgresServer) -> AsyncIterator[Registry]:
    """A registry with one tenant; the databases are dropped afterwards."""
    before = await list_databases(postgres)
    registry = Registry(postgres)
    await registry.create("")
    await registry.create("acme")
    yield registry
    await drop_all_but(postgres, before)


@pytest.fixture
async def running(registry: Registry, tmp_path: Path) -> AsyncIterator[RunningServer]:
    async with serve(Keys(tmp_path), *registry.bindings()) as running:
        yield running


@pytest.fixture
async def data(running: RunningServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[DataPlane]:
    """What a service has, without the passes: tests count its connections."""
    monkeypatch.setattr(AuditChainer, "used", lambda *_: None)
    async with (
        running.workload_channel("runs") as channel,
        connect_data_plane(channel, "runs", budget=3) as data,
    ):
        await data.ready()
        yield data


@pytest.fixture(params=[KINDS, PLAIN], ids=["kinds", "plain"])
async def tables(request: pytest.FixtureRequest, registry: Registry, data: DataPlane) -> Tables:
    await registry.execute("", SQL)
    return Tables(registry, data, request.param)
