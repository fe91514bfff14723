"""Constructs what publishes migrations, brings them to the databases, and compares these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tenant.app.drift import DriftCheck
from tenant.app.rollouts import Rollouts
from tenant.app.schema import Schema
from tenant.config import RolloutMode
from tenant.rollout.scratch import ExpectedObjects
from tenant.rollout.waves import RolloutWaves
from tenant.servicer.schema import SchemaServicer
from tenant.store.locks import AdvisoryLocks

if TYPE_CHECKING:
    from dataplane.tenants import ManagementPool, TenantPools
    from tenant.operations.operations import Operations
    from tenant.operations.saga import Saga
    from tenant.rollout.rollout import Rollout
    from tenant.rollout.template import TemplateDatabase
    from tenant.store.database_servers import DatabaseServers

_ROLLOUT_LOCKS = 8


@dataclass(frozen=True, slots=True)
class SchemaComposition:
    """The objects by which the schemas of the databases are changed and looked at."""

    schema: Schema
    saga: Saga
    servicer: SchemaServicer


@dataclass(frozen=True, slots=True)
class SchemaFoundation:
    """What they need of the rest of the service."""

    management: ManagementPool
    locks: AdvisoryLocks
    servers: DatabaseServers
    rollout: Rollout
    template: TemplateDatabase
    begun: Operations


def compose_schema(
    mode: RolloutMode, base: SchemaFoundation, pools: TenantPools
) -> SchemaComposition:
    """Construct all of it."""
    # Locks of their own: a rollout leaves those of other changes free.
    locks = AdvisoryLocks(base.management, _ROLLOUT_LOCKS)
    waves = RolloutWaves(base.management, locks, base.begun, base.rollout)
    on_publish = mode is RolloutMode.WAVES
    rollouts = Rollouts(base.management, base.begun, waves, on_publish=on_publish)
    schema = Schema(
        base.management,
        base.servers.main.management,
        base.locks,
        base.rollout,
        base.template,
        rollouts,
        at_once=mode is RolloutMode.AT_ONCE,
    )
    expected = ExpectedObjects(base.template)
    drift = DriftCheck(base.management, pools, base.locks, base.servers, expected)
    servicer = SchemaServicer(schema, rollouts, drift, base.management)
    return SchemaComposition(schema, rollouts.saga, servicer)
