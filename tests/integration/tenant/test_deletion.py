"""Deletion: closed and kept at first, then purged with a certificate."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from tests.integration.tenant.harness import (
    killed_after,
    started,
)
from tests.integration.tenant.purges import (
    certificate,
    ended,
    left_on_server,
    purged,
    rows_about,
)
from tests.support.audit_log import chain
from tests.support.waiting import wait_until

from tenant.app.purge_schedule import PurgeSchedule
from tenant.creation import Step
from tenant.domain.operations import OperationState
from tenant.domain.tenants import TenantState
from tenant.errors import (
    RequestIdReused,
    TenantNotFound,
    TenantNotReady,
)
from tenant.errors.deletion import TenantNotDeleted
from tenant.operations.saga import tenant_lock

if TYPE_CHECKING:
    import asyncpg
    from tests.support.tenant_data import MemoryPeers

    from servicekit.testing import Keys
    from tenant.composition import Composition
    from tenant.config import Config

LOCK = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))"


@pytest.fixture
def config(config_with_peers: Config) -> Config:
    return config_with_peers


@pytest.fixture
async def service(service: Composition) -> Composition:
    service.runner.start()
    return service


async def test_a_deleted_tenant_is_closed_and_kept(
    service: Composition, management: asyncpg.Connection
) -> None:
    acme = await service.tenants.create("acme", "r1", "Acme")

    deleted = await service.deletion.deletion.delete("acme", timedelta(days=3))

    assert deleted.state is TenantState.DELETED
    assert deleted.delete_time is not None
    assert deleted.purge_time is not None
    assert deleted.purge_time - deleted.update_time == timedelta(days=3)
    assert deleted.generation == acme.generation + 1
    assert await management.fetchval(
        "SELECT NOT datallowconn FROM pg_database WHERE datname = $1", acme.database.name
    )
    for change in (service.tenants.suspend, service.tenants.resume):
        with pytest.raises(TenantNotReady):
            await change("acme")


async def test_it_comes_back_suspended_and_can_be_resumed(service: Composition) -> None:
    await service.tenants.create("acme", "r1", "Acme")
    await service.deletion.deletion.delete("acme")

    undeleted = await service.deletion.deletion.undelete("acme")
    resumed = await service.tenants.resume("acme")

    assert (undeleted.state, undeleted.purge_time) == (TenantState.SUSPENDED, None)
    assert resumed.state is TenantState.ACTIVE
    async with service.tenant_pools.connection("acme") as connection:
        assert await connection.fetchval("SELECT tenant_id FROM tenant_identity") == "acme"


async def test_only_a_deleted_tenant_is_purged(service: Composition) -> None:
    await service.tenants.create("acme", "r1", "Acme")

    with pytest.raises(TenantNotDeleted):
        await service.deletion.deletion.purge("acme", "p1")
    with pytest.raises(TenantNotFound):
        await service.deletion.deletion.purge("globex", "p1")


async def test_a_purge_removes_all_and_the_certificate_says_what(
    service: Composition, management: asyncpg.Connection, peers: MemoryPeers, keys: Keys
) -> None:
    acme = await service.tenants.create("acme", "r1", "Acme")
    other = await service.tenants.create("other", "r2", "Other")
    peers.fill("acme")
    peers.fill("other")
    await service.deletion.deletion.delete("acme")

    done = await purged(service)

    assert done.state is OperationState.DONE, done.message
    assert done.result == {"certificate_id": done.operation_id}
    assert await left_on_server(management, acme.database) == []
    assert len(await left_on_server(management, other.database)) == 10
    assert await rows_about(management, "acme") == {"operations": 1}
    assert [store.things for store in peers.stores.values()] == [{"other": 7}] * 3
    document = await certificate(service, keys)
    assert document["tenant_id"] == "acme"
    assert document["requested_by"] == "ada"
    stores = {one["store"]: (one["found_before"], one["found_after"]) for one in document["stores"]}
    assert stores["memory of runs"] == (7, 0)
    assert stores["memory of artifacts"] == (7, 0)
    assert stores["databases of the database server main"] == (1, 0)
    assert stores["roles of the database server main"] == (9, 0)
    assert stores["rows of the tenant service in the management database"][0] > 5
    assert {after for _, after in stores.values()} == {0}
    log = next(one for one in document["stores"] if "write-ahead log" in one["store"])
    assert log["unproven"] == []
    assert log["found_before"] > 0
    await chain(management)
    audited = await management.fetch(
        """
        SELECT action FROM audit_logs
         WHERE resource_id = 'acme' AND action <> 'audit.anchor' ORDER BY sequence
        """
    )
    assert [row["action"] for row in audited] == [
        "tenant.create", "tenant.delete", "tenant.purge", "tenant.purged"
    ]  # fmt: skip


async def test_the_same_request_is_the_same_purge_even_when_the_tenant_is_gone(
    service: Composition,
) -> None:
    await service.tenants.create("acme", "r1", "Acme")
    await service.deletion.deletion.delete("acme")
    done = await purged(service)

    assert (await service.deletion.deletion.purge("acme", "p1")).operation_id == done.operation_id
    with pytest.raises(RequestIdReused):
        await service.deletion.deletion.purge("other", "p1")


async def test_a_purge_that_has_begun_is_returned_whoever_asks_for_one(
    service: Composition, management: asyncpg.Connection
) -> None:
    """As of one that its retention's end has begun."""
    await service.tenants.create("acme", "r1", "Acme")
    await service.deletion.deletion.delete("acme")
    await service.runner.stop()
    begun = await service.deletion.deletion.purge("acme", "of the schedule")
    async with management.transaction():  # as the process does that runs it
        await management.execute(LOCK, tenant_lock("acme"))
        meanwhile = await service.deletion.deletion.purge("acme", "p1")
    service.runner.start()
    done = await ended(service, begun)
    afterwards = await service.deletion.deletion.purge("acme", "p2")

    assert meanwhile.operation_id == begun.operation_id == afterwards.operation_id
    assert (done.state, afterwards.result) == (OperationState.DONE, done.result)
    assert await rows_about(management, "acme") == {"operations": 1}


async def test_a_purge_that_has_failed_goes_on_whoever_asks_for_it(
    service: Composition, management: asyncpg.Connection
) -> None:
    await service.tenants.create("acme", "r1", "Acme")
    await service.deletion.deletion.delete("acme")
    await service.runner.stop()
    begun = await service.deletion.deletion.purge("acme", "p1")
    await management.execute("UPDATE operations SET state = 'failed', ended_at = now()")
    service.runner.start()

    done = await purged(service, request="p2")

    assert (done.operation_id, done.state) == (begun.operation_id, OperationState.DONE)


async def test_the_id_can_be_used_again(service: Composition) -> None:
    first = await service.tenants.create("acme", "r1", "Acme")
    await service.deletion.deletion.delete("acme")
    await purged(service)

    second = await service.tenants.create("acme", "r9", "Acme again")

    assert second.database.name != first.database.name
    with pytest.raises(TenantNotDeleted):
        await service.deletion.deletion.purge("acme", "p2")
    async with service.tenant_pools.connection("acme") as connection:
        assert await connection.fetchval("SELECT current_database()") == second.database.name


@pytest.mark.parametrize("step", [Step.ROLES, Step.DATABASE, Step.SCHEMA])
async def test_a_creation_that_never_ended_is_deleted_and_purged(
    service: Composition, config: Config, management: asyncpg.Connection, step: Step
) -> None:
    await service.runner.stop()  # it would go on with the creation
    async with started(config) as dying:
        with killed_after(step):
            await dying.tenants.create("acme", "r1", "Acme")
    database = await management.fetchval("SELECT db_name FROM tenants WHERE id = 'acme'")

    await service.deletion.deletion.delete("acme")
    assert (await service.deletion.deletion.undelete("acme")).state is TenantState.CREATING
    await service.deletion.deletion.delete("acme")
    service.runner.start()
    done = await purged(service)

    assert done.state is OperationState.DONE, done.message
    left = await management.fetchval(
        "SELECT count(*) FROM pg_roles WHERE starts_with(rolname, $1)", database
    )
    assert left == 0
    assert await rows_about(management, "acme") == {"operations": 1}


async def test_a_tenant_is_purged_by_itself_when_its_time_has_come(service: Composition) -> None:
    await service.tenants.create("acme", "r1", "Acme")
    await service.tenants.create("kept", "r2", "Kept")
    await service.deletion.deletion.delete("acme", timedelta(0))
    await service.deletion.deletion.delete("kept", timedelta(days=1))
    schedule = PurgeSchedule(service.management, service.deletion.deletion, 0.05).task
    schedule.start()

    async def gone() -> bool:
        async with service.management.connection() as connection:
            rows = await connection.fetch("SELECT id FROM tenants")
        return [row["id"] for row in rows] == ["kept"]

    await wait_until(gone, seconds=100)
    await schedule.stop()
