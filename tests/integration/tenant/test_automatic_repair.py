"""What is repaired by itself, and what somebody has to look at before."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest
from tests.integration.tenant.harness import RUNS, killed_after, migration, started
from tests.integration.tenant.purges import forget, purged
from tests.support.audit_log import chain

from tenant.creation import Step
from tenant.errors import ServerUnavailable
from tenant.peers.tenant_data import TenantDataPeers
from tenant.provisioning import Provisioning
from tenant.rollout.rollout import Rollout

if TYPE_CHECKING:
    import asyncpg
    from tests.support.tenant_data import MemoryPeers

    from tenant.composition import Composition
    from tenant.config import Config
    from tenant.domain.databases import Database
    from tenant.domain.schema import MigrationProgress


@pytest.fixture
def config(config_with_peers: Config) -> Config:
    return config_with_peers


async def test_of_an_id_that_may_be_in_use_again_nothing_is_removed_by_itself(
    service: Composition, peers: MemoryPeers, management: asyncpg.Connection
) -> None:
    await service.tenants.create("acme", "r1", "Acme")
    await service.deletion.deletion.delete("acme")
    service.runner.start()
    await purged(service)
    again = await service.tenants.create("acme", "r2", "Acme")
    peers.fill("acme")
    await forget(management, "acme")  # the registry is of a moment before

    await service.repairs.look()

    assert [store.things for store in peers.stores.values()] == [{"acme": 7}] * 3
    await service.provisioning.drop("main", again.database)
    await service.repairs.look()
    assert [store.things for store in peers.stores.values()] == [{}] * 3


async def test_what_fails_each_time_stops_nothing_else_and_is_logged_once(
    service: Composition, peers: MemoryPeers, management: asyncpg.Connection
) -> None:
    acme = await service.tenants.create("acme", "r1", "Acme")
    await service.tenants.create("globex", "r2", "Globex")
    await service.deletion.deletion.delete("globex")
    service.runner.start()
    await purged(service, "globex")
    peers.fill("globex")
    await management.execute("UPDATE tenants SET state = 'suspended', is_active = false")

    with patch.object(TenantDataPeers, "purge", side_effect=RuntimeError("unforeseen")):
        for _ in range(2):
            await service.repairs.look()

    is_open = "SELECT datallowconn FROM pg_database WHERE datname = $1"
    assert await management.fetchval(is_open, acme.database.name) is False
    await service.repairs.look()
    assert [store.things for store in peers.stores.values()] == [{}] * 3
    await chain(management)
    entries = "SELECT count(*) FROM audit_logs WHERE action = 'tenant.repair'"
    assert await management.fetchval(entries) == 3


async def test_it_is_done_by_itself_and_what_is_open_that_is_to_be_closed_is_closed(
    service: Composition, config: Config, management: asyncpg.Connection
) -> None:
    acme = await service.tenants.create("acme", "r1", "Acme")
    await management.execute("UPDATE tenants SET state = 'suspended', is_active = false")
    async with started(config) as dying:
        with killed_after(Step.DATABASE):
            await dying.tenants.create("half", "r2", "Half")
    half = await management.fetchval("SELECT db_name FROM tenants WHERE id = 'half'")
    await forget(management, "half")

    await service.repairs.look()

    left = "SELECT count(*) FROM pg_roles WHERE starts_with(rolname, $1)"
    assert await management.fetchval(left, half) == 0
    is_open = "SELECT datallowconn FROM pg_database WHERE datname = $1"
    assert await management.fetchval(is_open, acme.database.name) is False


async def test_a_database_that_cannot_be_closed_keeps_no_other_open(
    service: Composition, config: Config, management: asyncpg.Connection
) -> None:
    acme = await service.tenants.create("acme", "r1", "Acme")
    others = [await service.tenants.create(one, one, one) for one in ("aaa", "zzz")]
    await management.execute("UPDATE tenants SET state = 'suspended', is_active = false")
    close = Provisioning.close

    async def failing(self: Provisioning, server_id: str, database: Database) -> None:
        if database == acme.database:
            raise RuntimeError("unforeseen")
        await close(self, server_id, database)

    with patch.object(Provisioning, "close", failing):
        await service.repairs.look()
        async with started(config):  # nor does it hinder a start
            pass

    is_open = "SELECT datallowconn FROM pg_database WHERE datname = $1"
    for other in others:
        assert await management.fetchval(is_open, other.database.name) is False
    assert await management.fetchval(is_open, acme.database.name) is True


async def test_a_tenant_that_was_left_behind_is_migrated_by_itself(
    service: Composition, management: asyncpg.Connection
) -> None:
    await service.tenants.create("acme", "r1", "Acme")
    away = patch.object(Rollout, "migrate", side_effect=ServerUnavailable("main"))
    with away, suppress(ServerUnavailable):
        await service.schema.publish("runs", [RUNS, migration("runs", 2, "SELECT 1")])
    lacking = "SELECT applied_number FROM schema_states WHERE tenant_id = 'acme' AND service = $1"
    assert await management.fetchval(lacking, "runs") == 1

    await service.repairs.look()

    assert await management.fetchval(lacking, "runs") == 2


async def test_one_tenant_s_unforeseen_error_hinders_no_other_s_migration(
    service: Composition, management: asyncpg.Connection
) -> None:
    for tenant_id in ("acme", "globex"):
        await service.tenants.create(tenant_id, tenant_id, tenant_id)
    migrate = Rollout.migrate

    async def failing(self: Rollout, *arguments: object) -> MigrationProgress:
        if "acme" in arguments:
            raise RuntimeError("unforeseen")
        return await migrate(self, *arguments)  # pyright: ignore[reportArgumentType]

    with patch.object(Rollout, "migrate", failing):
        await service.schema.publish("runs", [RUNS, migration("runs", 2, "SELECT 1")])

    lacking = "SELECT tenant_id FROM schema_states WHERE service = 'runs' AND applied_number = 1"
    assert [row["tenant_id"] for row in await management.fetch(lacking)] == ["acme"]
