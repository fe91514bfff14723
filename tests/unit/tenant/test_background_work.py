"""Who loads a tenant's database has services look at its rows, as the last step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from servicekit.errors import DomainError, PeerUnavailable, TenantNotActive
from servicekit.times import now
from tenant.domain.operations import RESULT, Operation, OperationKind, OperationState
from tenant.operations.background_work import with_background_work
from tenant.operations.saga import Saga, Step

if TYPE_CHECKING:
    from tenant.peers.tenant_data import TenantDataPeers


class Peers:
    def __init__(self, error: DomainError | None = None) -> None:
        self.scheduled: list[str] = []
        self._error = error

    async def schedule(self, tenant_id: str) -> None:
        self.scheduled.append(tenant_id)
        if self._error is not None:
            raise self._error


async def nothing(_: object, operation: Operation) -> None:
    del operation


def last_step(kind: OperationKind, peers: Peers) -> Step:
    saga = Saga(kind, [Step("load", nothing)])
    (made,) = with_background_work([saga], cast("TenantDataPeers", peers))
    return made.steps[-1]


def operation(**notes: object) -> Operation:
    return Operation(
        "o1", OperationKind.CLONE_TENANT, "acme", "r1", {}, OperationState.RUNNING, "load", notes,
        None, "", "", "", cancel_requested=False, user_id="ada", create_time=now(),
        update_time=now(), end_time=None,
    )  # fmt: skip


async def run(step: Step, of: Operation) -> None:
    connection: Any = None
    await step.run(connection, of)


@pytest.mark.parametrize("kind", OperationKind)
def test_only_what_loads_a_database_has_the_step(kind: OperationKind) -> None:
    loading = {"clone_tenant", "import_tenant", "restore_backup"}
    assert (last_step(kind, Peers()).name == "background_work") is (kind.value in loading)


async def test_the_tenant_that_was_made_is_scheduled() -> None:
    peers = Peers()
    step = last_step(OperationKind.CLONE_TENANT, peers)

    await run(step, operation(**{RESULT: {"tenant_id": "copy"}}))
    await run(step, operation())

    assert peers.scheduled == ["copy", "acme"]


async def test_a_refusal_fails_nothing_and_a_peer_that_is_away_is_waited_for() -> None:
    refusing, away = Peers(TenantNotActive("suspended")), Peers(PeerUnavailable("away"))

    await run(last_step(OperationKind.RESTORE_BACKUP, refusing), operation())
    with pytest.raises(PeerUnavailable):
        await run(last_step(OperationKind.RESTORE_BACKUP, away), operation())
