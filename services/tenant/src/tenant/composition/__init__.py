"""The composition root: constructs every object of the service with exactly what it uses."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from dataplane.audit_chainer import AuditChainer
from dataplane.databases import MANAGEMENT, Databases
from dataplane.tenants import ManagementPool, TenantPools
from tenant.app.backup_purge import BackupPurge
from tenant.app.connection_resolver import ConnectionResolver
from tenant.app.operation_sweep import OperationSweep
from tenant.app.operations import OperationControl
from tenant.app.startup import Startup
from tenant.app.watch_cache import WatchCache
from tenant.composition.audit import LogComposition, compose_logs
from tenant.composition.backups import BackupFoundation, compose_backups
from tenant.composition.creation import compose_creation, compose_tenants
from tenant.composition.deletion import DeletionFoundation, compose_deletion, compose_repairs
from tenant.composition.foundation import Foundation
from tenant.composition.schema import SchemaFoundation, compose_schema
from tenant.composition.secrets import compose_secrets
from tenant.composition.servers import ServerComposition, compose_servers
from tenant.composition.transfers import TransferComposition, compose_transfers
from tenant.domain.servers import MAIN
from tenant.operations.background_work import with_background_work
from tenant.operations.operations import Operations
from tenant.operations.runner import OperationRunner
from tenant.servicer.bindings import bindings
from tenant.servicer.connections import ConnectionServicer
from tenant.servicer.operations import OperationServicer
from tenant.servicer.tenants import TenantServicer
from tenant.store.notifications import NotificationListener
from tenant.store.server import APPLICATION

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from interceptor.server import Binding
    from servicekit.periodic import PeriodicTask
    from tenant.app.audit_anchors import AuditAnchors
    from tenant.app.audit_sweep import AuditSweep
    from tenant.app.key_source import KeySource
    from tenant.app.repair_schedule import RepairSchedule
    from tenant.app.schema import Schema
    from tenant.app.tenants import Tenants
    from tenant.composition.backups import BackupComposition
    from tenant.composition.deletion import DeletionComposition
    from tenant.composition.secrets import SecretComposition
    from tenant.config import Config
    from tenant.operations.saga import Saga
    from tenant.provisioning import Provisioning
    from tenant.rollout.template import TemplateDatabase
    from tenant.store.database_servers import DatabaseServers

_TENANT_CONNECTIONS = 20


@dataclass(frozen=True, slots=True)
class Composition:
    """The objects by which a process, or a test, starts and uses the service."""

    startup: Startup
    watch_cache: WatchCache
    bindings: Sequence[Binding]
    tenants: Tenants
    schema: Schema
    connections: ConnectionResolver
    operations: Operations
    operation_sweep: OperationSweep
    runner: OperationRunner
    logs: LogComposition
    backups: BackupComposition
    deletion: DeletionComposition
    repairs: RepairSchedule
    secrets: SecretComposition
    transfers: TransferComposition
    tenant_pools: TenantPools
    foundation: Foundation

    @property
    def periodic_tasks(self) -> Sequence[PeriodicTask]:
        """What a process does beside its calls and operations; `compose` stops it."""
        return (
            self.sweep.task,
            self.repairs.task,
            self.deletion.schedule.task,
            self.backups.schedules.task,
            self.backups.sweep.task,
            self.transfers.sweep.task,
            self.operation_sweep.task,
        )

    @property
    def sweep(self) -> AuditSweep:
        return self.logs.sweep

    @property
    def anchors(self) -> AuditAnchors:
        return self.logs.anchors

    @property
    def keys(self) -> KeySource:
        return self.secrets.source

    @property
    def management(self) -> ManagementPool:
        return self.foundation.management

    @property
    def servers(self) -> DatabaseServers:
        return self.foundation.servers

    @property
    def template(self) -> TemplateDatabase:
        return self.foundation.template

    @property
    def provisioning(self) -> Provisioning:
        return self.foundation.provisioning


@asynccontextmanager
async def compose(config: Config) -> AsyncGenerator[Composition]:
    """Construct the service for the block, and close its connections afterwards."""
    base = Foundation.construct(config)
    chainer = AuditChainer(base.to_management)
    connections = ConnectionResolver(
        base.management,
        base.servers.main,
        base.key_ring,
        config.connections_per_role,
        config.processes_per_service,
    )
    to_tenants = Databases(connections.own, APPLICATION, _TENANT_CONNECTIONS)
    made = _constructed(config, base, connections, TenantPools(to_tenants))
    try:
        yield made
    finally:
        for task in made.periodic_tasks:
            await task.stop()
        await made.runner.stop()
        await made.backups.objects.close()
        await made.deletion.peers.close()
        await made.watch_cache.stop()
        await base.keys.stop()
        await chainer.stop()
        to_tenants.close()
        await to_tenants.settled()
        await base.close()


def _constructed(
    config: Config, base: Foundation, connections: ConnectionResolver, pools: TenantPools
) -> Composition:
    management, watch_cache = base.management, _watch_cache(base)
    begun, logs = Operations(management), compose_logs(config, base, pools)
    creation, servers = compose_creation(config, base, begun), compose_servers(base, begun, logs)
    schemas = compose_schema(config.rollout_on_publish, _schema_foundation(base, begun), pools)
    backups, transfers, deletion, secrets = _whole_tenants(config, base, begun, pools, logs)
    sagas = (*backups.sagas, *transfers.sagas, *secrets.sagas, *servers.sagas)
    runner = _runner(base, begun, deletion, (*sagas, schemas.saga, creation.saga()))
    tenants = compose_tenants(config, base, runner, creation)
    return Composition(
        startup=_startup(base, tenants, watch_cache, schemas.schema),
        watch_cache=watch_cache,
        bindings=bindings(
            _tenant_servicer(base, servers, tenants, deletion, watch_cache),
            ConnectionServicer(connections),
            schemas.servicer,
            logs.servicer,
            _operation_servicer(base, begun, runner),
            backups.servicer,
            servers.servicer,
            secrets.servicer,
            transfers.servicer,
        ),
        tenants=tenants,
        schema=schemas.schema,
        connections=connections,
        operations=begun,
        operation_sweep=OperationSweep(management, timedelta(days=config.operation_days)),
        runner=runner,
        logs=logs,
        backups=backups,
        deletion=deletion,
        repairs=compose_repairs(config, base, deletion, tenants, schemas.schema),
        secrets=secrets,
        transfers=transfers,
        tenant_pools=pools,
        foundation=base,
    )


def _tenant_servicer(
    base: Foundation,
    servers: ServerComposition,
    tenants: Tenants,
    deletion: DeletionComposition,
    watch_cache: WatchCache,
) -> TenantServicer:
    return TenantServicer(
        tenants,
        servers.moves,
        deletion.deletion,
        deletion.repair,
        watch_cache,
        base.management,
    )


def _watch_cache(base: Foundation) -> WatchCache:
    listener = NotificationListener(base.bootstrap.listen, MAIN)
    return WatchCache(listener, lambda: base.to_management.drop(MANAGEMENT))


def _schema_foundation(base: Foundation, begun: Operations) -> SchemaFoundation:
    return SchemaFoundation(
        base.management, base.locks, base.servers, base.rollout, base.template, begun
    )


def _backup_foundation(
    base: Foundation, begun: Operations, anchors: AuditAnchors
) -> BackupFoundation:
    return BackupFoundation(
        base.management,
        base.locks,
        base.servers,
        base.provisioning,
        base.key_ring,
        base.activation,
        begun,
        anchors.signed,
    )


def _operation_servicer(
    base: Foundation, begun: Operations, runner: OperationRunner
) -> OperationServicer:
    control = OperationControl(base.management, begun, runner)
    return OperationServicer(control, base.management)


def _runner(
    base: Foundation, begun: Operations, deletion: DeletionComposition, sagas: Sequence[Saga]
) -> OperationRunner:
    sagas = with_background_work((*sagas, deletion.saga), deletion.peers)
    return OperationRunner(base.management, base.locks, begun, sagas)


def _whole_tenants(
    config: Config,
    base: Foundation,
    begun: Operations,
    pools: TenantPools,
    logs: LogComposition,
) -> tuple[BackupComposition, TransferComposition, DeletionComposition, SecretComposition]:
    """Construct what works on tenants as a whole."""
    foundation, anchors = _backup_foundation(base, begun, logs.anchors), logs.anchors
    backups = compose_backups(config, foundation)
    transfers = compose_transfers(config, foundation, pools, backups.objects, logs.verification)
    deletion = compose_deletion(
        config,
        DeletionFoundation(
            base.management, base.locks, base.servers, base.provisioning, begun, anchors
        ),
        [BackupPurge(backups.deletion), transfers.transfers],
    )
    secrets = compose_secrets(base.management, begun, base.servers, base.keys)
    return backups, transfers, deletion, secrets


def _startup(
    base: Foundation, tenants: Tenants, watch_cache: WatchCache, schema: Schema
) -> Startup:
    return Startup(
        base.bootstrap,
        base.servers,
        base.to_management,
        base.management,
        tenants,
        watch_cache,
        schema,
        base.migrations,
    )
