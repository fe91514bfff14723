"""The document of a deletion certificate."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tenant.domain.deletion import CERTIFICATE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from jsonvalues import JsonObject
    from tenant.domain.deletion import StoreReport
    from tenant.domain.operations import Operation
    from tenant.domain.tenants import Tenant

_UNPROVEN = (
    "Physical backups, standbys and archives of the database server keep what they hold until "
    "their own retention ends.",
    "Blocks that file systems and disks have freed are not seen; they are written over in time.",
    "The memory of the services' processes: each drops what it has cached once the tenant is gone.",
    "Providers of models keep what they were sent for as long as their terms say.",
)
_KEPT = (
    "In the management database: this certificate, the operation of the purge, the tenant's lines "
    "in past rollouts, and entries of the audit log, which hold ids, actions, users, and digests "
    "of the tenant's audit log; files of anchors hold such digests too.",
    "Other tenants that were made of this one's data, as clones, restored backups or imports.",
    "Bundles that were fetched, and those that were uploaded to be imported or verified: an upload "
    "is removed by its import, or after NAGAYA_TRANSFER_HOURS.",
    "In log files of the services: ids, and no bodies, until they are rotated away.",
)


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """What a certificate says beside the operation."""

    installation: str
    tenant: Tenant
    """As it was last."""
    stores: Sequence[StoreReport]


def certificate_of(operation: Operation, facts: CertificateFacts) -> JsonObject:
    """Return the document of the purge that an operation was."""
    notes: Mapping[str, Any] = operation.notes
    return {
        "type": CERTIFICATE,
        "certificate_id": operation.operation_id,
        "installation": facts.installation,
        "tenant_id": operation.tenant_id,
        "server_id": facts.tenant.server_id,
        "database": facts.tenant.database.name,
        "audit_log": notes.get("audit_log"),
        "requested_by": operation.user_id,
        "requested_time": text_of(operation.create_time),
        "looked_again_time": notes.get("looked_again_time"),
        "stores": [{**asdict(one), "unproven": list(one.unproven)} for one in facts.stores],
        "unproven": list(_UNPROVEN),
        "kept": list(_KEPT),
    }


def text_of(moment: datetime) -> str:
    """Return a time as the certificate has it."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
