"""The role that owns the audit tables, and that no login can become.

PostgreSQL makes whoever creates a role its administrator, for as long as the creator exists. So a
role creates the owner, and is dropped afterwards: what is left has no administrator but the
superusers. Two roles are made in this way:

- `…_audit` owns the audit tables, and the functions that write to them.
- `…_audit_handover` owns nothing but `nagaya_audit.hand_over()`, the one thing that still gives
  tables to the former. It can do so only while it is a member of their present owner, and never
  gives anything back.

A function of another owner cannot be made in a database later. So `hand_over()` stands in a
database without tables, of which all new databases are copies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg

from tenant.store.roles import names

if TYPE_CHECKING:
    from dataplane.pools import Connection
    from tenant.domain.databases import AuditRoles, Database

FUNCTION = "nagaya_audit.hand_over()"
BLOCKED = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError)
"""What `hand_over` raises when sessions write to the tables."""


async def is_made(connection: Connection, roles: AuditRoles) -> bool:
    """Return whether the roles exist, and the one that made them is gone."""
    return await connection.fetchval(
        "SELECT to_regrole($1) IS NOT NULL AND to_regrole($2) IS NULL",
        f'"{roles.owner}"',
        f'"{roles.maker}"',
    )


async def make_roles(connection: Connection, roles: AuditRoles) -> None:
    """Create the roles that are missing; `connection` is the provisioner's, in a transaction."""
    await connection.execute("SET LOCAL createrole_self_grant = ''")
    for creator, role, options in (
        ("", roles.maker, "CREATEROLE"),
        (roles.maker, roles.handover, "CREATEROLE"),
        (roles.handover, roles.owner, ""),
    ):
        if await connection.fetchval("SELECT to_regrole($1)", f'"{role}"') is None:
            await connection.execute(
                f"""
                {f'SET LOCAL ROLE "{creator}";' if creator else ""}
                CREATE ROLE "{role}" NOLOGIN {options};
                GRANT "{role}" TO CURRENT_USER WITH INHERIT FALSE, SET TRUE;
                RESET ROLE
                """
            )


async def drop_maker(connection: Connection, roles: AuditRoles) -> None:
    """Drop the role that made the others: from now on nobody administers them."""
    await connection.execute(f'DROP ROLE IF EXISTS "{roles.maker}"')


async def create_function(connection: Connection, roles: AuditRoles) -> None:
    """Create `hand_over()` in a database that the provisioner owns, while there is the maker."""
    await connection.execute(
        f"""
        CREATE SCHEMA IF NOT EXISTS nagaya_audit AUTHORIZATION "{roles.handover}";
        SET LOCAL ROLE "{roles.handover}";
        {_CREATE_FUNCTION.replace("{owner}", roles.owner)};
        GRANT USAGE ON SCHEMA nagaya_audit TO PUBLIC;
        RESET ROLE
        """
    )


async def owner_of_log(connection: Connection) -> str | None:
    """Return the owner of a database's audit log; None where it cannot be handed over.

    The database may lack the function, or migrations that nobody could apply afterwards.
    """
    return await connection.fetchval(
        """
        SELECT pg_get_userbyid(relowner) FROM pg_class
         WHERE oid = to_regclass('public.audit_logs') AND to_regprocedure($1) IS NOT NULL
           AND has_table_privilege('pg_database_owner', oid, 'SELECT')
        """,
        FUNCTION,
    )


async def allow_handover(connection: Connection, database: Database, roles: AuditRoles) -> None:
    """Make the handover role a member of the tables' present owner."""
    owner = database.migration("tenant")
    await connection.execute(f'GRANT "{owner}" TO "{roles.handover}" WITH INHERIT TRUE, SET FALSE')


async def end_handover(connection: Connection, database: Database, roles: AuditRoles) -> None:
    """Undo `allow_handover`."""
    await connection.execute(
        f'REVOKE {names([database.migration("tenant")])} FROM "{roles.handover}"'
    )


async def hand_over(connection: Connection) -> None:
    """Give the audit tables of a database to their last owner; any role of it may call this.

    Waits 2 s at most for sessions that write to them. Raises what is in `BLOCKED`.
    """
    async with connection.transaction():
        await connection.execute("SET LOCAL lock_timeout = '2s'")
        await connection.execute(f"SELECT {FUNCTION}")


_CREATE_FUNCTION = """
-- Gives the audit log to the role that nobody can become. Whoever reads a database as a whole, as
-- its owner, goes on reading it; the publication is for logical replication to another server.
CREATE OR REPLACE FUNCTION nagaya_audit.hand_over() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $hand_over$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_publication WHERE pubname = 'nagaya_audit') THEN
        CREATE PUBLICATION nagaya_audit
            FOR TABLE public.audit_logs, public.audit_unchained, public.audit_head;
    END IF;
    GRANT SELECT ON public.audit_logs, public.audit_unchained, public.audit_head
        TO pg_database_owner;
    GRANT SELECT ON SEQUENCE public.audit_logs_id_seq TO pg_database_owner;
    GRANT USAGE ON SCHEMA public TO pg_database_owner;
    -- First the schema: who owns it could put another function in the place of one of these.
    ALTER SCHEMA public OWNER TO "{owner}";
    ALTER FUNCTION public.audit_append OWNER TO "{owner}";
    ALTER FUNCTION public.audit_chain OWNER TO "{owner}";
    ALTER FUNCTION public.audit_digest OWNER TO "{owner}";
    ALTER FUNCTION public.audit_refuse OWNER TO "{owner}";
    ALTER FUNCTION public.audit_refuse_loss OWNER TO "{owner}";
    ALTER TABLE public.audit_unchained OWNER TO "{owner}";
    ALTER TABLE public.audit_head OWNER TO "{owner}";
    ALTER TABLE public.audit_logs OWNER TO "{owner}";
END
$hand_over$
"""
