"""The rows of `operations` that have not ended for good: they run, or have failed."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from tenant.domain.operations import OperationKind, OperationState
from tenant.store.operations import COLUMNS, from_row, one

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dataplane.pools import Connection
    from tenant.domain.operations import Operation


async def drain_of(connection: Connection, server_id: str) -> Operation | None:
    """Return the drain of a server that has not ended for good, the newest if there are more.

    Not one that is being cancelled.
    """
    return await one(
        connection,
        f"""
        SELECT {COLUMNS} FROM operations
         WHERE kind = $1 AND arguments ->> 'server_id' = $2 AND state IN ('running', 'failed')
           AND NOT cancel_requested
         ORDER BY created_at DESC
         LIMIT 1
        """,
        OperationKind.DRAIN_SERVER.value,
        server_id,
    )


async def of_tenant(connection: Connection, tenant_id: str, but_id: str) -> list[Operation]:
    """Return a tenant's operations that have not ended for good, but one; the oldest first."""
    rows = await connection.fetch(
        f"""
        SELECT {COLUMNS} FROM operations
         WHERE tenant_id = $1 AND id <> $2 AND state IN ('running', 'failed')
         ORDER BY created_at
        """,
        tenant_id,
        UUID(but_id),
    )
    return [from_row(row) for row in rows]


async def ids_of_server(connection: Connection, server_id: str) -> list[str]:
    """Return the ids of operations that name a server and have not ended for good."""
    rows = await connection.fetch(
        """
        SELECT id::text FROM operations
         WHERE state IN ('running', 'failed')
           AND jsonb_path_exists(
                   jsonb_build_array(arguments, notes),
                   '$.** ? (@.server_id == $id || @.old_server_id == $id)',
                   jsonb_build_object('id', $1::text)
               )
         ORDER BY created_at
        """,
        server_id,
    )
    return [row["id"] for row in rows]


async def texts(connection: Connection) -> dict[str, OperationState]:
    """Return arguments and notes of the operations that have not ended for good, as text.

    Each begins with the operation's id.
    """
    rows = await connection.fetch(
        """
        SELECT id::text || arguments::text || notes::text AS text, state FROM operations
         WHERE state IN ('running', 'failed')
        """
    )
    return {row["text"]: OperationState(row["state"]) for row in rows}


def states_of(texts: Mapping[str, OperationState], *names: str) -> set[OperationState]:
    """Return the states of the operations, by their `texts`, that have one of the names."""
    known = [name for name in names if name]
    return {state for text, state in texts.items() if any(name in text for name in known)}


async def running_tenant_ids(connection: Connection, kind: OperationKind | None = None) -> set[str]:
    """Return the tenants of the operations that run, or of those of a kind."""
    rows = await connection.fetch(
        """
        SELECT DISTINCT tenant_id FROM operations
         WHERE state = 'running' AND ($1::text IS NULL OR kind = $1)
        """,
        None if kind is None else kind.value,
    )
    return {row["tenant_id"] for row in rows}


async def tenant_ids(connection: Connection) -> set[str]:
    """Return the tenants of the operations that have not ended for good."""
    rows = await connection.fetch(
        "SELECT DISTINCT tenant_id FROM operations WHERE state IN ('running', 'failed')"
    )
    return {row["tenant_id"] for row in rows}
