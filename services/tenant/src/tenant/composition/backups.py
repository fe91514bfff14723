"""Constructs what makes, restores and deletes backups."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from servicekit.channel import open_channel
from servicekit.identity import WorkloadSigner
from signing import DocumentSigner, PublicKeys
from tenant.app.backup_copying import BackupRestoration, TenantCloning, TenantCopying
from tenant.app.backup_creation import BackupCreation
from tenant.app.backup_deletion import BackupDeletion
from tenant.app.backup_files import BackupFiles
from tenant.app.backup_loading import BackupLoading
from tenant.app.backup_reader import SIGNER, BackupReader
from tenant.app.backup_restoration import RestorationInPlace
from tenant.app.backup_schedules import BackupSchedules
from tenant.app.backup_verification import BackupVerification
from tenant.app.backup_writer import BackupWriter
from tenant.app.backups import Backups
from tenant.app.new_tenants import NewTenants
from tenant.app.staging_sweep import StagingSweep
from tenant.backup_storage.folder import FolderStorage
from tenant.backup_storage.none import NoStorage
from tenant.backup_storage.s3 import BucketStorage
from tenant.peers.objects import TenantObjects
from tenant.servicer.backups import BackupServicer
from tenant.store.dumps import DumpPrograms
from tenant.transfer.backup_sessions import BackupSessions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dataplane.tenants import ManagementPool
    from tenant.backup_config import BackupConfig
    from tenant.backup_storage.storage import BackupStorage
    from tenant.config import Config
    from tenant.creation import TenantActivation
    from tenant.domain.encryption import KeyRing
    from tenant.operations.operations import Operations
    from tenant.operations.saga import Saga
    from tenant.provisioning import Provisioning
    from tenant.signed_anchors import SignedAnchors
    from tenant.store.database_servers import DatabaseServers
    from tenant.store.locks import AdvisoryLocks


@dataclass(frozen=True, slots=True)
class BackupComposition:
    """The objects by which backups are made."""

    servicer: BackupServicer
    sagas: Sequence[Saga]
    schedules: BackupSchedules
    objects: TenantObjects
    deletion: BackupDeletion
    sweep: StagingSweep


@dataclass(frozen=True, slots=True)
class BackupFoundation:
    """What they need of the rest of the service."""

    management: ManagementPool
    locks: AdvisoryLocks
    servers: DatabaseServers
    provisioning: Provisioning
    key_ring: KeyRing
    activation: TenantActivation
    begun: Operations
    anchors: SignedAnchors


def compose_backups(config: Config, base: BackupFoundation) -> BackupComposition:
    """Construct them; a channel to artifacts is opened when it is first used."""
    server, settings = config.server, config.backups
    signer = WorkloadSigner.from_file("tenant", server.workload_key_file)
    address = settings.artifacts_address
    objects = TenantObjects(open_channel(address, signer, streaming=True) if address else None)
    programs = DumpPrograms(settings.programs, config.database_tls.variables)
    sessions = BackupSessions(base.servers, programs)
    storage, begun = _storage(settings), base.begun
    documents = DocumentSigner.from_file(SIGNER, server.workload_key_file)
    writer = BackupWriter(sessions, storage, objects, documents)
    keys = partial(_public_keys, server.jwks_file)
    reader = BackupReader(sessions, storage, objects, keys)
    files = BackupFiles(storage)
    creation = BackupCreation(base.locks, writer, files, begun, base.anchors)
    loading = BackupLoading(base.servers, base.provisioning, sessions, reader, begun)
    new_tenants = compose_new_tenants(config, base)
    copying = TenantCopying(loading, new_tenants, objects)
    in_place = RestorationInPlace(base.management, loading, base.provisioning, base.anchors)
    backups = Backups(base.management, begun, new_tenants, configured=settings.configured)
    deletion = BackupDeletion(base.management, base.locks, files)
    schedules = BackupSchedules(base.management, begun, backups, deletion)
    return BackupComposition(
        BackupServicer(backups, deletion, schedules, base.management),
        (
            creation.saga(),
            BackupVerification(loading).saga(),
            BackupRestoration(in_place, copying).saga(),
            TenantCloning(base.locks, creation, copying).saga(),
        ),
        schedules,
        objects,
        deletion,
        StagingSweep(),
    )


def compose_new_tenants(config: Config, base: BackupFoundation) -> NewTenants:
    """Construct what makes tenants of existing data."""
    return NewTenants(
        base.servers,
        base.provisioning,
        base.activation,
        base.key_ring,
        config.connections_per_role,
        base.anchors,
    )


def _public_keys(jwks_file: Path) -> PublicKeys:
    return PublicKeys.from_jwks(jwks_file.read_bytes())


def _storage(settings: BackupConfig) -> BackupStorage:
    if settings.folder is not None:
        return FolderStorage(settings.folder)
    return NoStorage() if settings.bucket is None else BucketStorage(settings.bucket)
