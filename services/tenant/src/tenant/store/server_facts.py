"""What a database server is, and what the provisioner may do there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg

if TYPE_CHECKING:
    from dataplane.pools import Connection


NAMES = {
    "rolreplication": "REPLICATION",
    "logical_wal": "wal_level = logical",
    "may_subscribe": "pg_create_subscription",
}
"""What is absent where a column of `read` is false, of those that replication needs."""

StatementRefused = asyncpg.PostgresError
"""What a server raises that does not do what is asked."""


async def system_identifier(connection: Connection) -> str:
    """Return which cluster a server is."""
    return await connection.fetchval("SELECT system_identifier::text FROM pg_control_system()")


async def version(connection: Connection) -> str:
    """Return the version of PostgreSQL."""
    return await connection.fetchval("SELECT current_setting('server_version')")


async def read(connection: Connection) -> asyncpg.Record:
    """Return settings of a server, and the attributes and privileges of the role that asks.

    Of PostgreSQL 16 or later: before, some of the roles did not exist.
    """
    row = await connection.fetchrow(
        """
        SELECT current_setting('server_version') AS version,
               rolcreatedb, rolcreaterole, rolreplication, rolsuper,
               pg_has_role('pg_checkpoint', 'USAGE') AS may_checkpoint,
               pg_has_role('pg_create_subscription', 'USAGE') AS may_subscribe,
               has_function_privilege('pg_switch_wal()', 'EXECUTE') AS may_switch_wal,
               current_setting('wal_level') = 'logical' AS logical_wal,
               (SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()) AS encrypted
          FROM pg_roles WHERE rolname = current_user
        """
    )
    if row is None:
        raise LookupError("the role that asks does not exist")
    return row
