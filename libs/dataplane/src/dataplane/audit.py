"""Entries of the audit log, written in the transaction of the change."""

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
    """Write an entry for the current principal. Make it the last statement of the transaction.

    `details` is JSON and never holds a body. Raises TokenMissing where nobody is calling.
    """
    await connection.execute(
        "SELECT audit_append($1, $2, $3, $4, $5::jsonb)",
        current_principal().user_id,
        action,
        resource_type,
        resource_id,
        None if details is None else json.dumps(dict(details)),
    )
