"""Logical replication of one database into another: publication, subscription, slot, reader role.

Names are made by this service, so none needs escaping.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import asyncpg

from dataplane import failures
from servicekit.times import now
from tenant.domain.databases import SERVICES
from tenant.store.roles import names

if TYPE_CHECKING:
    from dataplane.pools import Connection
    from tenant.domain.databases import Database

PUBLICATION = "nagaya_move"
AUDIT_PUBLICATION = "nagaya_audit"
"""Of the audit tables, where they belong to a role that nobody can become."""
SUBSCRIPTION = "nagaya_move"
_UNREPLICATED = "schema_migrations"
_READER_LOGIN_TIME = timedelta(days=2)
_READER_SESSIONS = 8


@dataclass(frozen=True, slots=True)
class SubscriptionState:
    """How far a subscription is with the copy that it begins with."""

    enabled: bool
    """False also after an error."""
    connected: bool
    """Whether the other server has been heard since the worker began."""
    copied: int
    tables: int


def reader(database: Database) -> str:
    """Return the role as which another server reads a database."""
    return f"{database.name}_move"


async def grant_tables(connection: Connection, database: Database, role: str) -> None:
    """Let a role read and write all that a database's own roles can; by its manager role."""
    await connection.execute(f"GRANT {_owners(database)} TO {role} WITH INHERIT TRUE, SET TRUE")


async def revoke_tables(connection: Connection, database: Database, role: str) -> None:
    """Take back what `grant_tables` has granted."""
    await connection.execute(f"REVOKE {_owners(database)} FROM {role}")


async def create_reader(connection: Connection, database: Database, verifier: str) -> None:
    """Make the role as which another server logs in, for two days at most; by the provisioner."""
    role, until = reader(database), (now() + _READER_LOGIN_TIME).isoformat()
    with suppress(asyncpg.DuplicateObjectError):  # of an earlier attempt
        await connection.execute(f'CREATE ROLE "{role}"')
    await connection.execute(
        f"""
        ALTER ROLE "{role}" LOGIN REPLICATION CONNECTION LIMIT {_READER_SESSIONS}
            VALID UNTIL '{until}' PASSWORD '{verifier}'
        """
    )


async def drop_reader(connection: Connection, database: Database) -> None:
    """Drop that role; it need not exist."""
    await connection.execute(f'DROP ROLE IF EXISTS "{reader(database)}"')


async def delete_rows(connection: Connection, table: str) -> None:
    """Delete the rows of a table, if it has any: some tables refuse the statement itself."""
    if await connection.fetchval(f'SELECT EXISTS (SELECT FROM public."{table}")'):
        await connection.execute(f'DELETE FROM public."{table}"')


async def without_identity(connection: Connection) -> list[str]:
    """Return the tables whose rows could not be updated any more once they are published."""
    rows = await connection.fetch(
        """
        SELECT c.relname
          FROM pg_class AS c
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
           AND c.relreplident IN ('d', 'n')
           AND NOT (
               c.relreplident = 'd'
               AND EXISTS (SELECT FROM pg_index WHERE indrelid = c.oid AND indisprimary)
           )
         ORDER BY c.relname
        """
    )
    return [row["relname"] for row in rows]


async def publish(connection: Connection) -> list[str]:
    """Publish every table of the database, by the provisioner there; return the publications."""
    exists = "SELECT EXISTS (SELECT FROM pg_publication WHERE pubname = $1)"
    audited = await connection.fetchval(exists, AUDIT_PUBLICATION)
    if not await connection.fetchval(exists, PUBLICATION):
        rows = await connection.fetch(
            """
            SELECT quote_ident(c.relname) AS name
              FROM pg_class AS c
             WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
               AND NOT c.relispartition AND c.relname <> $1
               AND NOT EXISTS (
                   SELECT FROM pg_publication_tables AS p
                    WHERE p.pubname = $2 AND p.schemaname = 'public' AND p.tablename = c.relname
               )
            """,
            _UNREPLICATED,
            AUDIT_PUBLICATION,
        )
        tables = ", ".join(f"public.{row['name']}" for row in rows)
        await connection.execute(f"CREATE PUBLICATION {PUBLICATION} FOR TABLE {tables}")
    return [PUBLICATION, AUDIT_PUBLICATION] if audited else [PUBLICATION]


async def subscribe(connection: Connection, source: str, publications: list[str], slot: str) -> str:
    """Begin to copy what `source`, a libpq connection string, publishes; by the provisioner.

    Returns why the server cannot, such as that it does not reach the other one; empty if it does.
    """
    # As its owner: who is a member of the tables' owners, but cannot become the templates' roles.
    # Its commits are on disk when they are confirmed: the switch waits for that.
    try:
        await connection.execute(
            f"""
            CREATE SUBSCRIPTION {SUBSCRIPTION} CONNECTION '{source}'
                PUBLICATION {names(publications)}
                WITH (slot_name = '{slot}', run_as_owner = true, disable_on_error = true,
                      streaming = off, synchronous_commit = 'local')
            """
        )
    except asyncpg.PostgresError as error:
        if failures.is_unavailable(error, connection) and connection.is_closed():
            raise
        return f"{error.sqlstate}: {error}"
    return ""


async def unpublish(connection: Connection) -> None:
    """Drop the publication; it need not exist."""
    await connection.execute(f"DROP PUBLICATION IF EXISTS {PUBLICATION}")


async def is_encrypted(connection: Connection) -> bool:
    """Return whether the session uses TLS."""
    sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    return bool(await connection.fetchval(sql))


async def subscription(connection: Connection) -> SubscriptionState | None:
    """Return how far the subscription of this database is; None if there is none."""
    row = await connection.fetchrow(
        """
        SELECT s.subenabled AS enabled,
               EXISTS (
                   SELECT FROM pg_stat_subscription AS w
                    WHERE w.subid = s.oid AND w.relid IS NULL AND w.pid IS NOT NULL
                      AND w.last_msg_receipt_time IS NOT NULL
               ) AS connected,
               count(*) FILTER (WHERE r.srsubstate = 'r') AS copied,
               count(r.srrelid) AS tables
          FROM pg_subscription AS s
          LEFT JOIN pg_subscription_rel AS r ON r.srsubid = s.oid
         WHERE s.subname = $1
           AND s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
         GROUP BY s.oid, s.subenabled
        """,
        SUBSCRIPTION,
    )
    if row is None:
        return None
    return SubscriptionState(row["enabled"], row["connected"], row["copied"], row["tables"])


async def received(connection: Connection) -> int:
    """Return up to which position of the other server's WAL everything is committed here."""
    return int(
        await connection.fetchval(
            """
            SELECT coalesce(max(latest_end_lsn), '0/0') - '0/0'::pg_lsn
              FROM pg_stat_subscription
             WHERE subname = $1 AND relid IS NULL
               AND subid = (
                   SELECT s.oid FROM pg_subscription AS s JOIN pg_database AS d ON d.oid = s.subdbid
                    WHERE d.datname = current_database() AND s.subname = $1
               )
            """,
            SUBSCRIPTION,
        )
    )


async def flushed(connection: Connection) -> int:
    """Return a position of the WAL that is behind all that has been committed, and on disk."""
    # The message's commit flushes what was committed without waiting for the disk.
    await connection.execute("SELECT pg_logical_emit_message(true, 'nagaya_move', '')")
    return int(await connection.fetchval("SELECT pg_current_wal_flush_lsn() - '0/0'::pg_lsn"))


async def unsubscribe(connection: Connection) -> None:
    """Drop the subscription, and leave its slot to `drop_slot`."""
    if await subscription(connection) is None:
        return
    await connection.execute(f"ALTER SUBSCRIPTION {SUBSCRIPTION} DISABLE")
    await connection.execute(f"ALTER SUBSCRIPTION {SUBSCRIPTION} SET (slot_name = NONE)")
    await connection.execute(f"DROP SUBSCRIPTION {SUBSCRIPTION}")


async def slot_is_usable(connection: Connection, slot: str) -> bool:
    """Return whether a replication slot exists, and the log that it needs is kept still."""
    sql = """
        SELECT EXISTS (
            SELECT FROM pg_replication_slots
             WHERE slot_name = $1 AND wal_status IS DISTINCT FROM 'lost'
        )
    """
    return bool(await connection.fetchval(sql, slot))


async def drop_slot(connection: Connection, slot: str) -> bool:
    """Drop a replication slot unless it is in use; return whether it is gone.

    With it go those of this database by which tables were copied: a subscription that ends while
    the servers do not reach each other leaves them.
    """
    try:
        await connection.execute(
            """
            SELECT pg_drop_replication_slot(slot_name)
              FROM pg_replication_slots
             WHERE starts_with(slot_name, $1)
                OR (database = current_database() AND slot_name ~ '^pg_[0-9]+_sync_[0-9]+_[0-9]+$')
            """,
            slot,
        )
    except asyncpg.ObjectInUseError:
        return False
    except asyncpg.UndefinedObjectError:
        return True  # the server has just dropped it
    return True


def _owners(database: Database) -> str:
    roles = (database.group, database.runtime("tenant"), *map(database.migration, SERVICES))
    return names(roles)
