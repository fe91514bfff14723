"""What one database holds, read in one session: tables with digests, sequences, migrations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenant.domain.audit import START, ChainLink
from tenant.domain.backups import DatabaseContent, MigrationFile, SequenceState, TableContent
from tenant.store import audit_logs
from tenant.transfer import tables

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from dataplane.pools import Connection


async def read(
    connection: Connection,
    on_table: Callable[[int, int], Awaitable[None]],
    anchored: ChainLink | None = None,
) -> DatabaseContent:
    """Return the content of a database; inside a transaction, that of its snapshot.

    Without the tables that name the installation. `on_table` is told how many tables are read, and
    of how many. `anchored` is the last entry of the audit log that was anchored before.
    """
    await tables.use_text_format(connection)
    found = sorted(await tables.foreign_key_order(connection), key=lambda table: table.name)
    contents: list[TableContent] = []
    for table in found:
        read = await tables.digest(connection, table)
        contents.append(TableContent(table.name, read.rows, read.digest))
        await on_table(len(contents), len(found))
    states = await tables.sequences(connection)
    return DatabaseContent(
        await _migrations(connection),
        tuple(contents),
        tuple(SequenceState(one.name, one.last_value, one.is_called) for one in states),
        await _audit_head(connection),
        await _audit_fault(connection, anchored),
        anchored,
    )


async def load_order(connection: Connection) -> list[str]:
    """Return the names of these tables, those that others refer to first."""
    return [table.name for table in await tables.foreign_key_order(connection)]


async def delete_rows(connection: Connection) -> None:
    """Delete the rows that migrations have inserted into these tables."""
    for name in reversed(await load_order(connection)):
        if await connection.fetchval(f'SELECT EXISTS (SELECT FROM public."{name}")'):
            await connection.execute(f'DELETE FROM public."{name}"')


async def _migrations(connection: Connection) -> tuple[MigrationFile, ...]:
    rows = await connection.fetch(
        """
        SELECT service, number, name, digest FROM schema_migrations
         ORDER BY service COLLATE "C", number
        """
    )
    return tuple(MigrationFile(**row) for row in rows)


async def _audit_fault(connection: Connection, anchored: ChainLink | None) -> int | None:
    fault = await audit_logs.fault_of_all(connection)
    if fault is not None:
        return fault.sequence
    if anchored is None:
        return None
    digest = await audit_logs.find_digest(connection, anchored.sequence)
    return None if digest == anchored.digest else anchored.sequence


async def _audit_head(connection: Connection) -> ChainLink:
    row = await connection.fetchrow("SELECT sequence, digest FROM audit_head")
    return START if row is None else ChainLink(row["sequence"], row["digest"])
