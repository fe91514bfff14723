"""The tables of a tenant's database: read, loaded and compared, in sessions that the caller opens.

A session reads or loads the tables of the roles that it is a member of: one of a service's
migration role those of this service. What belongs to the installation is left out:
`schema_migrations` and `tenant_identity`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING

from tenant.domain.databases import SERVICES

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Sequence

    import asyncpg

    from dataplane.pools import Connection

OF_THE_INSTALLATION = ("schema_migrations", "tenant_identity")
"""The tables that the creation of a database fills: who reads or loads it leaves them alone."""

_AUDIT = "audit_"


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the schema `public`."""

    name: str
    service: str
    """Whose migrations made it."""
    columns: tuple[str, ...]
    """All but generated ones, in the order of the table."""
    key: tuple[str, ...]
    """The expressions by which its rows are ordered: its primary key, or else all columns."""


@dataclass(frozen=True, slots=True)
class TableDigest:
    """The rows of a table: how many, and what COPY writes of them in the order of `Table.key`."""

    rows: int
    size_bytes: int
    digest: str
    """The sha256."""


@dataclass(frozen=True, slots=True)
class SequenceState:
    """The state of a sequence of the schema `public`."""

    name: str
    service: str
    last_value: int
    is_called: bool


async def use_text_format(connection: Connection) -> None:
    """Have the session write and read values in one form, whatever server and role are set to."""
    await connection.execute(
        """
        SET client_encoding = 'UTF8';
        SET timezone = 'UTC';
        SET datestyle = 'ISO, YMD';
        SET intervalstyle = 'iso_8601';
        SET extra_float_digits = 1;
        SET bytea_output = 'hex';
        SET xmlbinary = 'base64'
        """
    )


async def foreign_key_order(connection: Connection) -> list[Table]:
    """Return the tables, those that others refer to first.

    Raises ValueError for a table that no service owns, and CycleError where they refer in a circle.
    """
    rows = await connection.fetch(_TABLES, list(OF_THE_INSTALLATION))
    tables = {
        row["name"]: Table(row["name"], _service(row), tuple(row["columns"]), tuple(row["key"]))
        for row in rows
    }
    sorter = TopologicalSorter({row["name"]: _known(row["parents"], tables) for row in rows})
    sorter.prepare()
    ordered: list[Table] = []
    while ready := sorted(sorter.get_ready()):
        ordered += [tables[name] for name in ready]
        sorter.done(*ready)
    return ordered


async def read(
    connection: Connection, table: Table, write: Callable[[bytes], Awaitable[None]]
) -> TableDigest:
    """Hand a table's rows in COPY's text format to `write`, piece by piece."""
    sha256, rows, size = hashlib.sha256(), 0, 0

    async def take(data: bytes) -> None:
        nonlocal rows, size
        sha256.update(data)
        rows += data.count(b"\n")
        size += len(data)
        await write(data)

    columns, key = _names(table.columns), ", ".join(table.key)
    await connection.copy_from_query(
        f'SELECT {columns} FROM public."{table.name}" ORDER BY {key}', output=take
    )
    return TableDigest(rows, size, sha256.hexdigest())


async def digest(connection: Connection, table: Table) -> TableDigest:
    """Compute the digest of a table."""

    async def drop(_: bytes) -> None:
        return

    return await read(connection, table, drop)


async def load(connection: Connection, table: Table, rows: AsyncIterable[bytes]) -> None:
    """Insert rows in COPY's text format, with the values of identity columns as they are.

    Rows that migrations have inserted are deleted first. Raises asyncpg.PostgresError.
    """
    async with connection.transaction():
        if await connection.fetchval(f'SELECT EXISTS (SELECT FROM public."{table.name}")'):
            await connection.execute(f'DELETE FROM public."{table.name}"')
        await connection.copy_to_table(
            table.name, source=rows, columns=list(table.columns), schema_name="public"
        )


async def sequences(connection: Connection) -> list[SequenceState]:
    """Return the state of the sequences that the session may read, by name."""
    found = await connection.fetch(_SEQUENCES)
    states: list[SequenceState] = []
    for row in found:
        state = await connection.fetchrow(f'SELECT last_value, is_called FROM public."{row[0]}"')
        if state is not None:
            states.append(SequenceState(row["name"], _service(row), state[0], state[1]))
    return states


async def set_sequences(connection: Connection, states: Iterable[SequenceState]) -> None:
    """Set sequences as they were."""
    for state in states:
        await connection.execute(
            "SELECT setval(format('public.%I', $1::text)::regclass, $2, $3)",
            state.name,
            state.last_value,
            state.is_called,
        )


def _service(row: asyncpg.Record) -> str:
    """Return the service of a table or sequence: that of its owner, in a copy of a template too.

    Those of the audit log belong to another role once the tenant is active.
    """
    if row["name"].startswith(_AUDIT):
        return "tenant"
    for service in SERVICES:
        if row["owner"].endswith(f"_{service.replace('-', '_')}_mig"):
            return service
    raise ValueError(f"{row['name']} belongs to {row['owner']}, the role of no service")


def _known(names: Iterable[str], tables: dict[str, Table]) -> list[str]:
    return [name for name in names if name in tables]


def _names(columns: Sequence[str]) -> str:
    return ", ".join(f'"{column}"' for column in columns)


_TABLES = """
-- each table, its columns, the columns of its key, and the tables that it refers to
SELECT c.relname AS name, pg_get_userbyid(c.relowner) AS owner,
       ARRAY(
           SELECT a.attname::text
             FROM pg_attribute AS a
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
              AND a.attgenerated = ''
            ORDER BY a.attnum
       ) AS columns,
       ARRAY(
           SELECT quote_ident(a.attname)
                  || CASE WHEN a.attcollation <> 0 THEN ' COLLATE "C"' ELSE '' END
             FROM pg_attribute AS a
             LEFT JOIN pg_index AS i ON i.indrelid = c.oid AND i.indisprimary
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
              AND a.attgenerated = ''
              AND (i.indexrelid IS NULL OR a.attnum = ANY(i.indkey))
            ORDER BY array_position(i.indkey::int2[], a.attnum), a.attnum
       ) AS key,
       ARRAY(
           SELECT DISTINCT parent.relname::text
             FROM pg_constraint AS k
             JOIN pg_class AS parent ON parent.oid = k.confrelid
            WHERE k.conrelid = c.oid AND k.contype = 'f' AND k.confrelid <> c.oid
       ) AS parents
  FROM pg_class AS c
 WHERE c.relnamespace = 'public'::regnamespace
   AND c.relkind IN ('r', 'p') AND NOT c.relispartition
   AND c.relname <> ALL($1::text[])
 ORDER BY c.relname
"""

_SEQUENCES = """
SELECT c.relname::text AS name, pg_get_userbyid(c.relowner) AS owner
  FROM pg_class AS c
 WHERE c.relnamespace = 'public'::regnamespace
   -- in this order: the function fails for a table
   AND CASE WHEN c.relkind = 'S' THEN has_sequence_privilege(c.oid, 'SELECT') END
 ORDER BY c.relname
"""
