"""The table `llm_gateway_processes` of the management database: where processes are reached."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataplane.pools import Connection


async def put(connection: Connection, process: str, endpoint: str) -> None:
    """Record that a process works and where it is reached; forget those that are long gone."""
    await connection.execute(
        """
        WITH forgotten AS (
            DELETE FROM llm_gateway_processes
             WHERE seen_at < now() - interval '1 day' AND process <> $1
        )
        INSERT INTO llm_gateway_processes (process, endpoint, seen_at) VALUES ($1, $2, now())
        ON CONFLICT (process) DO UPDATE SET endpoint = EXCLUDED.endpoint, seen_at = now()
        """,
        process,
        endpoint,
    )


async def remove(connection: Connection, process: str) -> None:
    await connection.execute("DELETE FROM llm_gateway_processes WHERE process = $1", process)


async def endpoints(connection: Connection) -> frozenset[str]:
    """Return where the processes are reached that have worked in the last two minutes."""
    rows = await connection.fetch(
        """
        SELECT DISTINCT endpoint FROM llm_gateway_processes
         WHERE seen_at > now() - interval '2 minutes'
        """
    )
    return frozenset(row["endpoint"] for row in rows)
