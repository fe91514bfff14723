"""Overwriting what the write-ahead log of a server still holds of dropped databases.

A segment that is needed no more is renamed for later use, with its content. So after a checkpoint
every segment that there is has to be written over: pg_switch_wal fills the rest of the current one
with zeros.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from dataplane.pools import Connection

METHOD = "pg_switch_wal and CHECKPOINT, until every segment that was there is written over"
_PASSES = 3
_REFUSALS = (
    asyncpg.InsufficientPrivilegeError,
    asyncpg.ObjectNotInPrerequisiteStateError,  # a standby
    asyncpg.UndefinedFunctionError,
    asyncpg.FeatureNotSupportedError,
)
_CURRENT = "SELECT pg_walfile_name(pg_current_wal_insert_lsn())"
_SEGMENTS = "SELECT name FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$'"


class WalUnproven(Exception):
    """The write-ahead log could not be written over, or still holds old segments; says why."""

    def __init__(self, why: str, found: int | None = None, kept: int | None = None) -> None:
        super().__init__(why)
        self.found = found
        """How many segments there were; None where that is not known."""
        self.kept = kept
        """How many of them are still there; None where that is not known."""


async def overwrite(connection: Connection, tell: Callable[[int, int], Awaitable[None]]) -> int:
    """Write over all segments that there are; return how many there were.

    `tell` is told how many are done, and of how many. Raises WalUnproven.
    """
    await connection.execute("SET statement_timeout = 0")
    try:
        first = await connection.fetchval(_CURRENT)
        found = len(await _segments(connection))
        kept: list[str] = []
        for _ in range(_PASSES):
            # No segment up to `first` is needed after its checkpoint. Those that were kept by then
            # may have been renamed since, with their content: they need another pass.
            kept = [name for name in await _pass(connection, tell) if name <= first]
            if not kept:
                break
    except _REFUSALS as error:
        raise WalUnproven(
            f"The server refuses the provisioner ({error}): until its segments are used again, "
            "the write-ahead log may hold what the database held."
        ) from None
    except asyncio.CancelledError:
        connection.terminate()  # a server that does not answer would not reset anything either
        raise
    finally:
        if not connection.is_closed():
            await connection.execute("RESET statement_timeout")
    if kept:
        raise WalUnproven(
            f"{len(kept)} older segments of the write-ahead log are kept, by a replication slot, "
            "by wal_keep_size, or until they are archived.",
            found,
            len(kept),
        )
    return found


async def _pass(connection: Connection, tell: Callable[[int, int], Awaitable[None]]) -> list[str]:
    """Write over the segments that are there for later use; return all that there were before."""
    await _next_segment(connection)
    await connection.execute("CHECKPOINT")
    current, names = await connection.fetchval(_CURRENT), await _segments(connection)
    reused = [name for name in names if name >= current]
    for done in range(1, len(reused) + 1):
        await _next_segment(connection)
        await tell(done, len(reused))
    return names


async def _segments(connection: Connection) -> list[str]:
    return sorted(row["name"] for row in await connection.fetch(_SEGMENTS))


async def _next_segment(connection: Connection) -> None:
    # At the beginning of a segment there would be nothing to switch from.
    await connection.execute("SELECT pg_logical_emit_message(false, 'nagaya', '')")
    await connection.execute("SELECT pg_switch_wal()")
