"""CREATE INDEX CONCURRENTLY and DROP INDEX CONCURRENTLY, so that each can run again.

A server that is interrupted in the middle leaves an index that is not valid: queries do not use it,
writes pay for it, and a unique one refuses rows. Such an index is dropped and made again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg

if TYPE_CHECKING:
    from dataplane.pools import Connection
    from tenant.domain.concurrent_indexes import IndexStatement

# It waits for all transactions that are older, and blocks neither reads nor writes meanwhile.
_LOCK_TIMEOUT = "60s"


class IndexInvalid(Exception):
    """PostgreSQL has reported success, and yet the index is not valid."""

    sqlstate = "55000"


async def run(connection: Connection, statement: IndexStatement) -> None:
    """Run one statement, unless an earlier attempt has done it.

    A valid index of that name on that table is left as it is. After a failure no invalid index is
    left, as far as it could be dropped. Raises asyncpg.PostgresError or IndexInvalid.
    """
    await connection.execute(f"SET lock_timeout = '{_LOCK_TIMEOUT}'")
    try:
        if not statement.table:
            await connection.execute(statement.sql)
        elif not await _is_made(connection, statement):
            await _make(connection, statement)
    finally:
        if not connection.is_closed():
            await connection.execute("RESET lock_timeout")


async def _make(connection: Connection, statement: IndexStatement) -> None:
    try:
        await connection.execute(statement.sql)
    except asyncpg.PostgresError:
        if not connection.is_closed():
            await _drop_invalid(connection, statement)
        raise
    if not await _is_made(connection, statement):
        raise IndexInvalid(f"the index {statement.index} is not valid")


async def _is_made(connection: Connection, statement: IndexStatement) -> bool:
    """Return whether the index is there and valid; an invalid one is dropped."""
    await _drop_invalid(connection, statement)
    return await _validity(connection, statement) is True


async def _drop_invalid(connection: Connection, statement: IndexStatement) -> None:
    if await _validity(connection, statement) is False:
        await connection.execute(f'DROP INDEX CONCURRENTLY IF EXISTS "{statement.index}"')


async def _validity(connection: Connection, statement: IndexStatement) -> bool | None:
    """Return whether the index is valid; None if the table has no index of that name."""
    return await connection.fetchval(
        """
        SELECT indisvalid AND indisready AND indislive
          FROM pg_index
         WHERE indexrelid = to_regclass($1) AND indrelid = to_regclass($2)
        """,
        statement.index,
        statement.table,
    )
