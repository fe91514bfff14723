"""The composition root: constructs every object of the service with exactly what it uses."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dataplane.audit_chainer import AuditChainer
from dataplane.databases import Databases
from dataplane.tenants import ManagementPool, TenantPools
from interceptor.fair_semaphore import FairSemaphore
from tenant.app.audit import AuditVerification
from tenant.app.audit_sweep import AuditSweep
from tenant.app.connection_resolver import ConnectionResolver
from tenant.app.schema import Schema
from tenant.app.startup import Bootstrap, Startup, own_migrations
from tenant.app.tenants import Tenants
from tenant.app.watch_cache import WatchCache
from tenant.config import MIGRATIONS
from tenant.domain.encryption import KeyRing
from tenant.rollout.migrator import Migrator
from tenant.rollout.rollout import Rollout
from tenant.rollout.template import TemplateDatabase
from tenant.saga import TenantActivation, TenantCreation
from tenant.servicer.audit import AuditServicer
from tenant.servicer.bindings import bindings
from tenant.servicer.connections import ConnectionServicer
from tenant.servicer.schema import SchemaServicer
from tenant.servicer.tenants import TenantServicer
from tenant.store.locks import AdvisoryLocks
from tenant.store.notifications import NotificationListener
from tenant.store.server import APPLICATION, ProvisionedServer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from interceptor.server import Binding
    from tenant.config import Config

_SERVER_ID = "main"
_MANAGEMENT_CONNECTIONS = 16
_LOCK_LIMIT = 6
_TENANT_CONNECTIONS = 20
_VERIFICATIONS = 2  # at once: each keeps a processor of the database server busy
_VERIFICATION_SECONDS = 60.0  # longer than a part may take


@dataclass(frozen=True, slots=True)
class Composition:
    """The objects by which a process, or a test, starts and uses the service."""

    startup: Startup
    watch_cache: WatchCache
    bindings: Sequence[Binding]
    tenants: Tenants
    schema: Schema
    connections: ConnectionResolver
    sweep: AuditSweep
    management: ManagementPool
    tenant_pools: TenantPools


@asynccontextmanager
async def compose(config: Config) -> AsyncGenerator[Composition]:
    """Construct the service for the block, and close its connections afterwards."""
    limit, required = config.connections_per_role, config.required_services
    key_ring, migrations = KeyRing.parse(config.key_ring), own_migrations(MIGRATIONS)
    server = ProvisionedServer(_SERVER_ID, config.database)
    migrator = Migrator(server)
    bootstrap = Bootstrap(server, migrator, migrations, key_ring, limit)
    to_management = Databases(bootstrap.connection_parameters, APPLICATION, _MANAGEMENT_CONNECTIONS)
    management, chainer = ManagementPool(to_management), AuditChainer(to_management)
    locks, rollout = AdvisoryLocks(management, _LOCK_LIMIT), Rollout(migrator)
    activation = TenantActivation(rollout)
    template = TemplateDatabase(server, migrator, locks, required)
    creation = TenantCreation(server, activation, template, key_ring, limit)
    schema = Schema(management, server.management, locks, rollout, template)
    tenants = Tenants(management, locks, creation, activation, server, required)
    processes = config.processes_per_service
    connections = ConnectionResolver(management, server, key_ring, limit, processes)
    to_tenants = Databases(connections.own, APPLICATION, _TENANT_CONNECTIONS)
    pools = TenantPools(to_tenants)
    sweep = AuditSweep(management, pools)
    watch_cache = WatchCache(NotificationListener(bootstrap.listen, _SERVER_ID))
    startup = Startup(
        bootstrap, server, to_management, management, tenants, watch_cache, schema, migrations
    )
    bound = bindings(
        TenantServicer(tenants, watch_cache, management),
        ConnectionServicer(connections),
        SchemaServicer(schema, management),
        _audit_servicer(management, pools),
    )
    try:
        yield Composition(
            startup, watch_cache, bound, tenants, schema, connections, sweep, management, pools
        )
    finally:
        await watch_cache.stop()
        await sweep.stop()
        await chainer.stop()
        for closed in (to_tenants, to_management, server):
            closed.close()


def _audit_servicer(management: ManagementPool, tenant_pools: TenantPools) -> AuditServicer:
    turns = FairSemaphore(_VERIFICATIONS, 1, _VERIFICATION_SECONDS)
    verification = AuditVerification(management, tenant_pools, turns)
    return AuditServicer(management, tenant_pools, verification)
