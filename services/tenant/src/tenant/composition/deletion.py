"""Constructs what deletes and purges tenants."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from servicekit.channel import open_channel
from servicekit.identity import WorkloadSigner
from signing import DocumentSigner
from tenant.app.deletion import TenantDeletion
from tenant.app.purge_schedule import PurgeSchedule
from tenant.app.repair import TenantRepair
from tenant.app.repair_schedule import RepairSchedule
from tenant.app.server_leftovers import ServerLeftovers
from tenant.deletion.purge import TenantPurge
from tenant.peers.tenant_data import TenantDataPeers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dataplane.tenants import ManagementPool
    from tenant.app.audit_anchors import AuditAnchors
    from tenant.app.schema import Schema
    from tenant.app.tenants import Tenants
    from tenant.composition.foundation import Foundation
    from tenant.config import Config
    from tenant.deletion.purge import TenantFiles
    from tenant.operations.operations import Operations
    from tenant.operations.saga import Saga
    from tenant.provisioning import Provisioning
    from tenant.store.database_servers import DatabaseServers
    from tenant.store.locks import AdvisoryLocks

_SIGNING_KEY = "workload-tenant"


@dataclass(frozen=True, slots=True)
class DeletionFoundation:
    """What deletion needs of the rest of the service."""

    management: ManagementPool
    locks: AdvisoryLocks
    servers: DatabaseServers
    provisioning: Provisioning
    begun: Operations
    anchors: AuditAnchors


@dataclass(frozen=True, slots=True)
class DeletionComposition:
    """The objects by which tenants are deleted."""

    deletion: TenantDeletion
    schedule: PurgeSchedule
    peers: TenantDataPeers
    repair: TenantRepair
    saga: Saga


def compose_deletion(
    config: Config, base: DeletionFoundation, files: Sequence[TenantFiles] = ()
) -> DeletionComposition:
    """Construct them; a channel to a peer is opened when it is first used."""
    key_file = config.server.workload_key_file
    signer = WorkloadSigner.from_file("tenant", key_file)
    peers = TenantDataPeers(
        {service: open_channel(address, signer) for service, address in config.peers.items()}
    )
    retention = timedelta(days=config.deleted_tenant_days)
    deletion = TenantDeletion(
        base.management, base.locks, base.provisioning, base.begun, base.anchors, retention
    )
    purge = TenantPurge(
        base.servers,
        base.provisioning,
        peers,
        base.begun,
        DocumentSigner.from_file(_SIGNING_KEY, key_file),
        files,
        base.anchors.signed,
    )
    return DeletionComposition(
        deletion,
        PurgeSchedule(base.management, deletion),
        peers,
        TenantRepair(
            base.management,
            base.locks,
            base.servers,
            base.provisioning,
            peers,
            ServerLeftovers(base.management, base.locks, base.servers),
        ),
        purge.saga(),
    )


def compose_repairs(
    config: Config,
    base: Foundation,
    deletion: DeletionComposition,
    tenants: Tenants,
    schema: Schema,
) -> RepairSchedule:
    """Construct what looks now and then whether all is as it should be."""
    return RepairSchedule(
        base.locks, base.servers, deletion.repair, tenants, schema, config.repair_seconds
    )
