"""The audit log: who changed what, recorded in the transaction that changes it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from servicekit.call import current_principal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dataplane.pools import Connection


async def append(
    connection: Connection,
    action: str,
    resource_type: str,
    resource_id: str,
    details: Mapping[str, object] | None = None,
) -> None:
    """Record a change by the current principal. Make it the last statement of the transaction.

    `details` must be of JSON and never holds a body.
    """
    await connection.execute(
        "SELECT audit_append($1, $2, $3, $4, $5::jsonb)",
        current_principal().user_id,
        action,
        resource_type,
        resource_id,
        None if details is None else json.dumps(dict(details)),
    )
