"""Constructs what creates tenants."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenant.app.tenants import Tenants
from tenant.creation import TenantCreation

if TYPE_CHECKING:
    from tenant.composition.foundation import Foundation
    from tenant.config import Config
    from tenant.operations.operations import Operations
    from tenant.operations.runner import OperationRunner


def compose_creation(config: Config, base: Foundation, begun: Operations) -> TenantCreation:
    """Construct the saga."""
    limit = config.connections_per_role
    return TenantCreation(
        base.servers, base.provisioning, base.activation, begun, base.key_ring, limit
    )


def compose_tenants(
    config: Config, base: Foundation, runner: OperationRunner, creation: TenantCreation
) -> Tenants:
    """Construct what begins creations and waits for them."""
    return Tenants(
        base.management,
        base.locks,
        runner,
        creation,
        base.activation,
        base.provisioning,
        config.required_services,
    )
