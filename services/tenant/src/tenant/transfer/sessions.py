"""Sessions of the migration roles of one database, to read or load its tables."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tenant.domain.databases import SERVICES
from tenant.rollout.migrator import migration_sessions
from tenant.transfer import tables

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from dataplane.pools import Connection
    from tenant.domain.databases import Database
    from tenant.store.server import ProvisionedServer


@asynccontextmanager
async def table_sessions(
    server: ProvisionedServer, database: Database
) -> AsyncGenerator[dict[str, Connection]]:
    """Open a session of each service's migration role, by service; they can log in only meanwhile.

    The caller holds the lock of the database, so nobody migrates it at the same time. Raises
    ServerUnavailable.
    """
    async with migration_sessions(server, database, SERVICES, lock_timeout="0") as sessions:
        await asyncio.gather(*map(tables.use_text_format, sessions.values()))
        yield sessions


@asynccontextmanager
async def one_snapshot(sessions: dict[str, Connection]) -> AsyncGenerator[str]:
    """Have all sessions read at one snapshot inside the block; yield its id, for others to use."""
    first, *others = sessions.values()
    begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
    await first.execute(begin)
    try:
        snapshot: str = await first.fetchval("SELECT pg_export_snapshot()")
        for session in others:
            await session.execute(f"{begin}; SET TRANSACTION SNAPSHOT '{snapshot}'")
        yield snapshot
    finally:
        for session in sessions.values():
            if not session.is_closed():
                await session.execute("ROLLBACK")
