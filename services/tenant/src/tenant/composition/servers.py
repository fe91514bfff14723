"""Constructs what registers and drains database servers, and moves tenants between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tenant.app.moves import Moves
from tenant.app.servers import Servers
from tenant.move.drain import ServerDrain
from tenant.move.replica import Replica
from tenant.move.saga import TenantMove
from tenant.servicer.servers import ServerServicer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tenant.composition.audit import LogComposition
    from tenant.composition.foundation import Foundation
    from tenant.operations.operations import Operations
    from tenant.operations.saga import Saga


@dataclass(frozen=True, slots=True)
class ServerComposition:
    """The objects by which servers are changed, and tenants moved."""

    servicer: ServerServicer
    moves: Moves
    sagas: Sequence[Saga]


def compose_servers(base: Foundation, begun: Operations, logs: LogComposition) -> ServerComposition:
    """Construct them."""
    management = base.management
    move = TenantMove(
        management,
        base.servers,
        base.provisioning,
        base.rollout,
        Replica(base.servers, base.database_tls),
        begun,
        logs.anchors.signed,
    )
    registration = Servers(
        management, base.locks, base.servers, base.template, base.key_ring, begun
    )
    return ServerComposition(
        ServerServicer(registration, management),
        Moves(management, begun),
        (move.saga(), ServerDrain(management, begun).saga()),
    )
