"""What a server's statistics tell: writes to each database, and connections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataplane.pools import Connection


@dataclass(frozen=True, slots=True)
class ServerActivity:
    """The activity on a database server."""

    writes: dict[str, int]
    """How many rows have been written to each database, by its name."""
    connections: int
    """To all databases, of everybody."""
    max_connections: int


async def read(connection: Connection) -> ServerActivity:
    """Return a server's activity.

    The numbers of rows begin at 0 again after a crash. What a session has written is counted some
    seconds later: once a second while it goes on, else after ten seconds.
    """
    rows = await connection.fetch(
        """
        SELECT datname, tup_inserted + tup_updated + tup_deleted AS written, numbackends,
               current_setting('max_connections')::int AS max_connections
          FROM pg_stat_database WHERE datname IS NOT NULL
        """
    )
    return ServerActivity(
        {row["datname"]: row["written"] for row in rows},
        sum(row["numbackends"] for row in rows),
        rows[0]["max_connections"],
    )
