"""Statements that are held up by locks, until a test lets them go on."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import asyncpg


@asynccontextmanager
async def commits_blocked(database: asyncpg.Connection) -> AsyncGenerator[None]:
    """Let nobody insert an artifact inside the block; what is read is read."""
    async with database.transaction():
        await database.execute("LOCK TABLE artifacts IN SHARE MODE")
        yield


async def someone_waits_for_a_lock(database: asyncpg.Connection, count: int = 1) -> None:
    async def waiting() -> bool:
        await database.execute("SELECT pg_stat_clear_snapshot()")
        return await database.fetchval(
            "SELECT count(*) >= $1 FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'",
            count,
        )

    await wait_until(waiting)
