"""Replication slots that no move needs: a server would keep its write-ahead log for them."""

from __future__ import annotations

from typing import TYPE_CHECKING
from unittest.mock import patch

import asyncpg
import pytest
from tests.integration.tenant.purges import ended

from tenant.app.moves import Moves
from tenant.domain.operations import OperationState
from tenant.domain.repair import FindingAction, FindingKind
from tenant.errors.moves import ReplicaBroken
from tenant.move.replica import Replica

if TYPE_CHECKING:
    from nagaya_local.parts.postgres import PostgresServer
    from tenant.composition import Composition
    from tenant.config import Config
    from tenant.domain.repair import Finding


@pytest.fixture
def config(config_with_peers: Config) -> Config:
    return config_with_peers


async def slots(service: Composition) -> list[Finding]:
    found, unchecked = await service.deletion.repair.run((), dry_run=False)
    assert unchecked == []
    return [one for one in found if one.kind is FindingKind.REPLICATION_SLOT]


async def slot_names(postgres: PostgresServer) -> list[str]:
    superuser = await asyncpg.connect(postgres.superuser_url())
    rows = await superuser.fetch("SELECT slot_name FROM pg_replication_slots")
    await superuser.close()
    return [row["slot_name"] for row in rows]


async def test_a_slot_is_kept_for_a_failed_move_and_removed_once_nobody_knows_of_it(
    service: Composition,
    postgres: PostgresServer,
    second_server: PostgresServer,
    management: asyncpg.Connection,
) -> None:
    acme = await service.tenants.create("acme", "r1", "Acme")
    moves = Moves(service.management, service.operations)
    service.runner.start()
    with patch.object(Replica, "copied", side_effect=ReplicaBroken("acme")):
        failed = await ended(service, await moves.begin("acme", "second", "m1"))
    assert failed.state is OperationState.FAILED
    slot = str(failed.notes["database"])

    (kept,) = await slots(service)
    assert (kept.name, kept.action) == (f"main/slot/{slot}", FindingAction.KEPT)
    assert "CancelOperation" in kept.hint
    # Without the subscription's worker, which has the slot in use.
    superuser = await asyncpg.connect(second_server.superuser_url(slot))
    await superuser.execute("ALTER SUBSCRIPTION nagaya_move DISABLE")
    await superuser.close()
    await management.execute("DELETE FROM operations WHERE kind = 'move_tenant'")

    (removed,) = await slots(service)
    assert removed.action is FindingAction.REMOVED
    assert acme.database.name in removed.description
    assert slot not in await slot_names(postgres)
    assert await slots(service) == []
    reader = "SELECT count(*) FROM pg_roles WHERE rolname = $1"
    assert await management.fetchval(reader, f"{acme.database.name}_move") == 0
