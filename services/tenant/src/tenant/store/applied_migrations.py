"""The table `schema_migrations` of one database, in a session of a service's migration role."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg

from tenant.domain.schema import AppliedMigration
from tenant.store import concurrent_indexes

if TYPE_CHECKING:
    from dataplane.pools import Connection
    from tenant.domain.migrations import Migration


class TransactionEnded(Exception):
    """A migration has ended the transaction that it was to be applied in."""

    sqlstate = "2D000"


async def last_by_service(connection: Connection) -> dict[str, AppliedMigration]:
    """Return the last applied migration of each service; empty for a new database."""
    try:
        rows = await connection.fetch(
            """
            SELECT DISTINCT ON (service) service, number, applied_at
              FROM schema_migrations
             ORDER BY service, number DESC
            """
        )
    except asyncpg.UndefinedTableError:
        return {}
    return {row["service"]: AppliedMigration(row["number"], row["applied_at"]) for row in rows}


async def apply(connection: Connection, migration: Migration) -> None:
    """Apply one migration and record it, in one transaction if it is a transactional one.

    Of another one each statement is run unless it has been; the record follows when all are done.
    Raises asyncpg.PostgresError, TransactionEnded or IndexInvalid.
    """
    if migration.transactional:
        await _apply_transaction(connection, migration)
        return
    for statement in migration.index_statements:
        await concurrent_indexes.run(connection, statement)
    await connection.execute(
        "SELECT public.nagaya_note_migration($1, $2, $3)",
        migration.number,
        migration.name,
        migration.digest,
    )


async def _apply_transaction(connection: Connection, migration: Migration) -> None:
    async with connection.transaction():
        before = await connection.fetchval("SELECT pg_current_xact_id()::text")
        await connection.execute(migration.sql)
        await connection.execute("RESET ALL")
        after = await connection.fetchval(
            "SELECT public.nagaya_note_migration($1, $2, $3), pg_current_xact_id()::text",
            migration.number,
            migration.name,
            migration.digest,
            column=1,
        )
        if before != after:
            raise TransactionEnded("the file ends its transaction")


async def end_other_sessions(connection: Connection) -> None:
    """End all other sessions of the role; they are of a process that was killed.

    A server finishes the statement of a client that is gone. Building an index takes hours, so
    nobody waits for it: it is rolled back, or leaves an index that is not valid.
    """
    await connection.execute(
        """
        SELECT pg_terminate_backend(pid, 5000)
          FROM pg_stat_activity
         WHERE usename = session_user AND datname = current_database() AND pid <> pg_backend_pid()
        """
    )


async def set_default_privileges(connection: Connection, runtime_role: str) -> None:
    """Let a service's runtime role use, but not alter, what its migrations create from now on.

    The database's owner may read it: a backup or an export reads a database as a whole.
    """
    await connection.execute(
        f"""
        ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
        ALTER DEFAULT PRIVILEGES GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES
            TO "{runtime_role}";
        ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO pg_database_owner;
        ALTER DEFAULT PRIVILEGES GRANT USAGE ON SEQUENCES TO "{runtime_role}";
        ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO "{runtime_role}"
        """
    )
