"""RepairTenants: what belongs to no tenant is found, and removed where that is certain."""

from __future__ import annotations

from typing import TYPE_CHECKING
from unittest.mock import patch

import asyncpg
import pytest
from tests.integration.tenant.harness import killed_after, started
from tests.integration.tenant.moves import databases_on, interrupt_drop
from tests.integration.tenant.purges import forget, purged
from tests.support.audit_log import chain

from tenant.creation import Step
from tenant.domain.operations import OperationState
from tenant.domain.repair import FindingAction, FindingKind
from tenant.errors.deletion import PeerUnknown
from tenant.operations.saga import tenant_lock
from tenant.peers.tenant_data import TenantDataPeers
from tenant.store import deletion_certificates

if TYPE_CHECKING:
    from tests.support.tenant_data import MemoryPeers

    from dataplane.pools import Connection
    from nagaya_local.parts.postgres import PostgresServer
    from tenant.composition import Composition
    from tenant.config import Config


@pytest.fixture
def config(config_with_peers: Config) -> Config:
    return config_with_peers


async def repaired(
    service: Composition, *remove: str, dry_run: bool = False
) -> list[tuple[FindingKind, str, FindingAction]]:
    found, unchecked = await service.deletion.repair.run(remove, dry_run=dry_run)
    assert unchecked == []
    return [(one.kind, one.name, one.action) for one in found]


async def test_where_all_is_well_nothing_is_found(service: Composition, peers: MemoryPeers) -> None:
    await service.tenants.create("acme", "r1", "Acme")
    peers.fill("acme")

    assert await repaired(service) == []


async def test_a_database_half_made_of_no_tenant_is_removed_and_a_complete_one_is_kept(
    service: Composition, config: Config, management: asyncpg.Connection
) -> None:
    lost = await service.tenants.create("lost", "r1", "Lost")
    async with started(config) as dying:
        with killed_after(Step.DATABASE):
            await dying.tenants.create("half", "r2", "Half")
    half = await management.fetchval("SELECT db_name FROM tenants WHERE id = 'half'")
    for tenant_id in ("lost", "half"):
        await forget(management, tenant_id)
    names = {half: FindingAction.WOULD_REMOVE, lost.database.name: FindingAction.KEPT}

    dry = await repaired(service, dry_run=True)
    assert {name: action for _, name, action in dry} == {
        f"main/{name}": action for name, action in names.items()
    }
    assert len(await repaired(service)) == 2
    assert await repaired(service) == [
        (FindingKind.DATABASE, f"main/{lost.database.name}", FindingAction.KEPT)
    ]
    removed = await repaired(service, f"main/{lost.database.name}")

    assert [action for _, _, action in removed] == [FindingAction.REMOVED]
    assert await repaired(service) == []
    left = "SELECT count(*) FROM pg_roles WHERE starts_with(rolname, $1)"
    assert await management.fetchval(left, half) == 0
    assert await management.fetchval(left, lost.database.name) == 0
    await chain(management)
    sql = "SELECT count(*) FROM audit_logs WHERE action = 'tenant.repair'"
    assert await management.fetchval(sql) == 2


async def test_a_database_whose_removal_was_interrupted_is_removed(
    service: Composition, postgres: PostgresServer, management: asyncpg.Connection
) -> None:
    acme = await service.tenants.create("acme", "r1", "Acme")
    name = acme.database.name
    await forget(management, "acme")
    await interrupt_drop(postgres, name)

    assert await repaired(service) == [
        (FindingKind.DATABASE, f"main/{name}", FindingAction.REMOVED)
    ]
    assert await databases_on(postgres, name) == []


async def test_roles_without_a_database_are_removed(
    service: Composition, config: Config, management: asyncpg.Connection
) -> None:
    async with started(config) as dying:
        with killed_after(Step.ROLES):
            await dying.tenants.create("acme", "r1", "Acme")
    name = await management.fetchval("SELECT db_name FROM tenants")
    assert await repaired(service) == []  # somebody goes on with it
    await management.execute("UPDATE operations SET state = 'failed'")
    assert [kind for kind, _, _ in await repaired(service)] == [FindingKind.UNFINISHED]
    await forget(management, "acme")

    assert await repaired(service) == [(FindingKind.ROLES, f"main/{name}", FindingAction.REMOVED)]
    assert await repaired(service) == []
    left = await management.fetchval(
        "SELECT count(*) FROM pg_roles WHERE starts_with(rolname, $1)", name
    )
    assert left == 0


async def test_data_of_a_purged_tenant_is_removed_and_of_an_unknown_one_kept(
    service: Composition, peers: MemoryPeers
) -> None:
    await service.tenants.create("purged-one", "r1", "Purged")
    await service.deletion.deletion.delete("purged-one")
    service.runner.start()
    await purged(service, "purged-one")
    peers.fill("purged-one")  # as an upload does that began before
    peers.fill("unknown")

    found = await repaired(service)

    assert {name: action for _, name, action in found} == {
        f"{peer}/{tenant_id}": action
        for peer in peers.stores
        for tenant_id, action in (
            ("purged-one", FindingAction.REMOVED),
            ("unknown", FindingAction.KEPT),
        )
    }
    assert [store.things for store in peers.stores.values()] == [{"unknown": 7}] * 3
    await repaired(service, "runs/unknown")
    assert peers.stores["runs"].things == {}


async def test_data_of_a_purged_id_is_kept_while_the_id_may_be_in_use_again(
    service: Composition, peers: MemoryPeers, management: asyncpg.Connection
) -> None:
    await service.tenants.create("acme", "r1", "Acme")
    await service.deletion.deletion.delete("acme")
    service.runner.start()
    await purged(service)
    await service.tenants.create("acme", "r2", "Acme")
    peers.fill("acme")
    await forget(management, "acme")  # the registry is of a moment before

    assert {action for _, _, action in await repaired(service)} == {FindingAction.KEPT}
    assert [store.things for store in peers.stores.values()] == [{"acme": 7}] * 3
    await repaired(service, *(f"{peer}/acme" for peer in peers.stores))
    assert [store.things for store in peers.stores.values()] == [{}] * 3


async def test_of_an_id_that_is_in_use_again_nothing_is_removed(
    service: Composition, peers: MemoryPeers
) -> None:
    await service.tenants.create("acme", "r1", "Acme")
    await service.deletion.deletion.delete("acme")
    service.runner.start()
    await purged(service)
    peers.fill("acme")
    listed = deletion_certificates.purged

    async def outdated(connection: Connection) -> set[str]:
        """Return what there was just before the same id is used again."""
        before = await listed(connection)
        await service.tenants.create("acme", "r2", "Acme")
        return before

    with patch.object(deletion_certificates, "purged", outdated):
        found = await repaired(service)

    assert found == [(FindingKind.DATA, "runs/acme", FindingAction.KEPT)]
    assert [store.things for store in peers.stores.values()] == [{"acme": 7}] * 3


async def test_a_purge_that_has_failed_is_reported(
    service: Composition, management: asyncpg.Connection
) -> None:
    await service.tenants.create("acme", "r1", "Acme")
    await service.deletion.deletion.delete("acme")
    service.runner.start()
    with patch.object(TenantDataPeers, "inspect", side_effect=PeerUnknown("runs")):
        failed = await purged(service)

    assert failed.state is OperationState.FAILED
    assert await repaired(service) == [(FindingKind.UNFINISHED, "acme", FindingAction.KEPT)]


async def test_a_start_is_not_hindered_by_a_closed_tenant_that_somebody_changes(
    service: Composition, config: Config, management: asyncpg.Connection
) -> None:
    acme = await service.tenants.create("acme", "r1", "Acme")
    await service.tenants.suspend("acme")
    await service.provisioning.admit_provisioner("main", acme.database)  # as a move does
    holding = service.foundation.locks.holding(tenant_lock("acme"))

    async with holding, started(config):
        pass


async def test_a_tenant_without_its_database_is_reported(
    service: Composition, postgres: PostgresServer
) -> None:
    acme = await service.tenants.create("acme", "r1", "Acme")
    superuser = await asyncpg.connect(postgres.superuser_url())
    await superuser.execute(f'DROP DATABASE "{acme.database.name}" WITH (FORCE)')
    await superuser.close()

    assert await repaired(service) == [(FindingKind.DATABASE_MISSING, "acme", FindingAction.KEPT)]
