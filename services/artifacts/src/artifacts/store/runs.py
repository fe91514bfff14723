"""The function `run_is_held`: all that this service reads of the runs service's table `runs`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from dataplane.pools import Connection


async def not_held(connection: Connection, run_ids: Iterable[UUID]) -> frozenset[UUID]:
    """Return those of these runs that exist and are not held."""
    rows = await connection.fetch(
        "SELECT id FROM unnest($1::uuid[]) AS run (id) WHERE NOT run_is_held(id)", list(run_ids)
    )
    return frozenset(row["id"] for row in rows)
