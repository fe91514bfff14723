"""Copying tables and sequences from one database into another, row by row."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tenant.domain.migrations import MigrationTarget
from tenant.errors.moves import CopyIncomplete
from tenant.move import locations
from tenant.store import applied_migrations, databases, published_migrations, replication
from tenant.transfer import tables

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from dataplane.pools import Connection
    from tenant.domain.migrations import Migration
    from tenant.move.locations import Location
    from tenant.store.database_servers import DatabaseServers

_CHUNKS = 16
_IDENTITY = tables.Table("tenant_identity", "tenant", ("tenant_id", "only_row"), ("only_row",))


async def migrations_of(
    connection: Connection, servers: DatabaseServers, old: Location
) -> list[Migration] | None:
    """Return the migrations that a database has; None for all that are published."""
    published = await published_migrations.list_for(connection, MigrationTarget.TENANT)
    async with locations.owner_session(servers, old) as (_, session):
        applied = await applied_migrations.last_by_service(session)
    numbers = {service: last.number for service, last in applied.items()}
    had = [one for one in published if one.number <= numbers.get(one.service, 0)]
    return None if len(had) == len(published) else had


async def empty(connection: Connection) -> None:
    """Delete the rows that migrations have inserted into a new database."""
    for table in reversed(await tables.foreign_key_order(connection)):
        await replication.delete_rows(connection, table.name)


async def copy_tables(old: Connection, new: Connection) -> None:
    """Copy every table into a new database, and compare what has arrived.

    Nobody writes to the old one. Raises CopyIncomplete.
    """
    for connection in (old, new):
        await tables.use_text_format(connection)
    for table in (_IDENTITY, *await tables.foreign_key_order(old)):
        chunks: asyncio.Queue[bytes | None] = asyncio.Queue(_CHUNKS)

        async def rows(chunks: asyncio.Queue[bytes | None] = chunks) -> AsyncIterator[bytes]:
            while (chunk := await chunks.get()) is not None:
                yield chunk

        loading = asyncio.create_task(tables.load(new, table, rows()))
        try:
            read = asyncio.create_task(tables.read(old, table, chunks.put))
            await asyncio.wait((read, loading), return_when=asyncio.FIRST_COMPLETED)
            if loading.done() and not read.done():
                read.cancel()
                await loading  # raises
            digest = await read
            await chunks.put(None)
            await loading
        finally:
            loading.cancel()
        if await tables.digest(new, table) != digest:
            raise CopyIncomplete(table.name)


async def copy_sequences(old: Connection, new: Connection) -> None:
    """Set the sequences of a new database as they are in the old one. Raises CopyIncomplete."""
    states = await tables.sequences(old)
    if len(states) != await databases.sequence_count(old):
        raise CopyIncomplete("sequences")
    await tables.set_sequences(new, states)
