"""Entries of the audit log, written in the transaction of the change and chained after it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from servicekit.call import current_principal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from dataplane.pools import Connection

CHAINED_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class ChainedEntries:
    """What one call of `chain` did."""

    count: int
    remaining: int
    """How many entries are still unchained; 0 unless as many were chained as at most."""
    oldest: datetime | None
    """When the oldest of the chained entries was made."""


async def append(
    connection: Connection,
    action: str,
    resource_type: str,
    resource_id: str,
    details: Mapping[str, object] | None = None,
) -> None:
    """Write an entry for the current principal, in the transaction of the change.

    `details` is JSON and never holds a body. The entry is in the chain within a second. Raises
    TokenMissing where nobody is calling.
    """
    await connection.execute(
        "SELECT audit_append($1, $2, $3, $4, $5::jsonb)",
        current_principal().user_id,
        action,
        resource_type,
        resource_id,
        None if details is None else json.dumps(dict(details)),
    )


async def chain(connection: Connection, most: int = CHAINED_AT_ONCE) -> ChainedEntries:
    """Move up to `most` committed entries into the chain, the oldest first.

    Calls at the same time take turns. Raises asyncpg.UndefinedFunctionError in a database that has
    not been migrated to it yet.
    """
    row = await connection.fetchrow("SELECT chained, remaining, oldest FROM audit_chain($1)", most)
    if row is None:
        raise LookupError("audit_chain has returned no row")
    return ChainedEntries(row["chained"], row["remaining"], row["oldest"])


async def chain_all(connection: Connection) -> None:
    """Move every entry that is committed now into the chain; raises what `chain` raises."""
    while (await chain(connection)).remaining:
        pass
