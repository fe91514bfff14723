"""The document of a deletion certificate."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from servicekit.times import now
from tenant.domain.deletion import CERTIFICATE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from jsonvalues import JsonObject
    from tenant.domain.deletion import StoreReport
    from tenant.domain.operations import Operation

_UNPROVEN = (
    "Physical backups, standbys and archives of the database server keep what they hold until "
    "their own retention ends.",
    "Blocks that file systems and disks have freed are not seen; they are written over in time.",
    "The memory of the services' processes: each drops what it has cached once the tenant is gone.",
    "Providers of models keep what they were sent for as long as their terms say.",
)
_KEPT = (
    "In the management database: this certificate, the operation of the purge, and entries of the "
    "audit log, which hold ids, actions and users.",
    "In log files of the services: ids, and no bodies, until they are rotated away.",
)


def certificate_of(
    operation: Operation, installation: str, place: tuple[str, str], stores: Sequence[StoreReport]
) -> JsonObject:
    """Return the document; `place` is the server and the name of the tenant's database."""
    server_id, database = place
    return {
        "type": CERTIFICATE,
        "certificate_id": operation.operation_id,
        "installation": installation,
        "tenant_id": operation.tenant_id,
        "server_id": server_id,
        "database": database,
        "requested_by": operation.user_id,
        "requested_time": _text(operation.create_time),
        "looked_again_time": _text(now()),
        "stores": [{**asdict(one), "unproven": list(one.unproven)} for one in stores],
        "unproven": list(_UNPROVEN),
        "kept": list(_KEPT),
    }


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
