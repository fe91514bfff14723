"""Databases whose entries were chained by their writers, brought to the pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import pytest
from tests.integration.tenant.harness import publish_both, started

from dataplane import audit
from tenant.app.startup import own_migrations
from tenant.config import MIGRATIONS

if TYPE_CHECKING:
    from tenant.composition import Composition
    from tenant.config import Config

BROKEN = """
    SELECT count(*) FROM (
        SELECT sequence, digest,
               audit_digest(lag(digest, 1, repeat('0', 64)) OVER log, audit_logs) AS computed,
               lag(sequence, 1, 0::bigint) OVER log AS previous
          FROM audit_logs WINDOW log AS (ORDER BY sequence)) AS entry
     WHERE digest <> computed OR sequence <> previous + 1
"""
APPEND = "SELECT audit_append('ada', 'run.create', 'run', $1, NULL)"


@pytest.fixture
def older(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Until it is undone, tenants' databases are as in the release before the pass."""
    before = [m for m in own_migrations(MIGRATIONS) if m.target == "management" or m.number < 3]
    monkeypatch.setattr("tenant.composition.foundation.own_migrations", lambda _: before)
    return monkeypatch


async def runs_connection(service: Composition) -> asyncpg.Connection[asyncpg.Record]:
    login = await service.connections.resolve("runs", "acme")
    return await asyncpg.connect(
        host=login.host,
        port=login.port,
        user=login.user,
        password=login.password,
        database=login.database,
    )


async def test_an_old_chain_goes_on_under_processes_of_both_releases(
    config: Config, older: pytest.MonkeyPatch
) -> None:
    async with started(config) as service:
        await publish_both(service)
        await service.tenants.create("acme", "r1", "Acme")
        running = await runs_connection(service)  # a process of the older release
        await running.fetchval(APPEND, "before")
        statement = await running.prepare(APPEND)
        transaction = running.transaction()
        await transaction.start()
        await statement.fetchval("meanwhile")

        older.undo()
        async with started(config) as upgraded, upgraded.tenant_pools.transaction("acme") as own:
            await audit.append(own, "prompt.create", "prompt", "new")
        await transaction.commit()
        await statement.fetchval("after")
        await running.close()

        async with service.tenant_pools.connection("acme") as connection:
            await audit.chain_all(connection)
            assert await connection.fetchval(BROKEN) == 0
            rows = await connection.fetch("SELECT * FROM audit_logs ORDER BY sequence")
    assert [row["resource_id"] for row in rows] == ["acme", "before", "meanwhile", "new", "after"]
    assert [row["sequence"] for row in rows] == [1, 2, 3, 4, 5]
    assert len({row["id"] for row in rows}) == 5
    assert rows[4]["database_role"].endswith("_runs")


async def test_a_log_is_read_as_before_where_there_is_no_pass_yet(
    config: Config, older: pytest.MonkeyPatch
) -> None:
    async with started(config) as service:
        await publish_both(service)
        await service.tenants.create("acme", "r1", "Acme")
        async with service.tenant_pools.connection("acme") as connection:
            with pytest.raises(asyncpg.UndefinedFunctionError):
                await audit.chain(connection)
            assert await connection.fetchval("SELECT count(*) FROM audit_logs") == 1
