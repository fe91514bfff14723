"""Snapshots that another session has exported."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg

from servicekit.errors import RequestInvalid

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from dataplane.pools import Connection

_SNAPSHOT_ID = re.compile(r"[0-9A-F]{8}-[0-9A-F]{8}-[0-9]+")
_GONE = (asyncpg.UndefinedObjectError, asyncpg.InvalidParameterValueError)


@asynccontextmanager
async def imported(connection: Connection, snapshot_id: str) -> AsyncGenerator[None]:
    """See, for the block, what a snapshot of this database sees. Raises RequestInvalid."""
    if not _SNAPSHOT_ID.fullmatch(snapshot_id):
        raise RequestInvalid("the snapshot's id is malformed")
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        try:
            await connection.execute(f"SET TRANSACTION SNAPSHOT '{snapshot_id}'")
        except _GONE:
            raise RequestInvalid("there is no such snapshot (any more)") from None
        yield
