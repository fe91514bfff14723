"""How much has been written to each database of a server, by its statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataplane.pools import Connection


async def writes(connection: Connection) -> dict[str, int]:
    """Return how many rows have been written to each database, by its name.

    The numbers begin at 0 again after a crash. What a session has written is counted some seconds
    later: once a second while it goes on, else after ten seconds.
    """
    rows = await connection.fetch(
        """
        SELECT datname, tup_inserted + tup_updated + tup_deleted AS written
          FROM pg_stat_database WHERE datname IS NOT NULL
        """
    )
    return {row["datname"]: row["written"] for row in rows}
