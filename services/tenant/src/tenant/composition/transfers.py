"""Constructs what exports and imports tenants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bundle import signature
from signing import DocumentSigner
from tenant.app.bundles import Bundles
from tenant.app.exports import TenantExport
from tenant.app.imports import TenantImport
from tenant.app.transfer_sweep import TransferSweep
from tenant.app.transfers import Transfers
from tenant.composition.backups import compose_new_tenants
from tenant.domain.operations import OperationKind
from tenant.operations.saga import Saga, Step
from tenant.servicer.transfers import TransferServicer
from tenant.transfer.folder import TransferFolder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dataplane.tenants import TenantPools
    from tenant.app.audit import AuditVerification
    from tenant.composition.backups import BackupFoundation
    from tenant.config import Config
    from tenant.peers.objects import TenantObjects


@dataclass(frozen=True, slots=True)
class TransferComposition:
    """The objects by which tenants are exported and imported."""

    servicer: TransferServicer
    sagas: Sequence[Saga]
    transfers: Transfers
    sweep: TransferSweep


def compose_transfers(
    config: Config,
    base: BackupFoundation,
    pools: TenantPools,
    objects: TenantObjects,
    verification: AuditVerification,
) -> TransferComposition:
    """Construct them."""
    folder = TransferFolder(config.transfers.folder, config.transfers.hours)
    key_file = config.server.workload_key_file
    signer = DocumentSigner.from_file(signature.SIGNER, key_file)
    bundles = Bundles(folder, config.server.jwks_file, base.begun)
    new_tenants = compose_new_tenants(config, base)
    export = TenantExport(base.servers, pools, objects, folder, signer, base.begun, verification)
    import_ = TenantImport(
        bundles, new_tenants, base.provisioning, base.servers, objects, base.begun
    )
    transfers = Transfers(
        base.management, base.begun, folder, artifacts_known=bool(config.backups.artifacts_address)
    )
    return TransferComposition(
        TransferServicer(transfers),
        (
            Saga(
                OperationKind.EXPORT_TENANT,
                (Step("bundle", export.write),),
                undo=export.remove,
                undo_on_failure=True,
            ),
            import_.saga(),
        ),
        transfers,
        TransferSweep(folder),
    )
