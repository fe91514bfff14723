"""CREATE ROLE, ALTER ROLE and GRANT: statements of the provisioner on a database server.

Names are made by this service, so none needs escaping.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import asyncpg

from servicekit.times import now

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from dataplane.pools import Connection
    from tenant.domain.databases import Database

_MIGRATION_SESSIONS = 4
_MIGRATION_LOGIN_TIME = timedelta(minutes=30)


async def ensure_manager(
    connection: Connection, manager: str, template: Database | None = None
) -> None:
    """Create a manager role, to which the provisioner can SET ROLE, unless it exists.

    It can grant membership in the roles of `template`.
    """
    statements = ["SET LOCAL createrole_self_grant = ''"]
    if not await exists(connection, manager):
        statements += [
            f'CREATE ROLE "{manager}" NOLOGIN CREATEDB CREATEROLE',
            f'GRANT "{manager}" TO CURRENT_USER WITH INHERIT TRUE, SET TRUE',
        ]
    if template is not None and not await _can_grant(connection, manager, template.group):
        members = names(template.roles)
        statements += [
            f'SET LOCAL ROLE "{template.manager}"',
            f'GRANT {members} TO "{manager}" WITH ADMIN TRUE, INHERIT FALSE, SET FALSE',
        ]
    if len(statements) == 1:
        return
    try:
        await connection.execute(";".join(statements))
    except (asyncpg.DuplicateObjectError, asyncpg.UniqueViolationError):
        return  # another creation has just created it


async def create(
    connection: Connection, database: Database, template: Database | None = None
) -> None:
    """Create a database's roles, unless they exist; none of them can log in yet.

    Each becomes a member of its counterpart among the roles of `template`.
    """
    if await exists(connection, database.group):
        return
    logins = "".join(f'CREATE ROLE "{role}" NOLOGIN;' for role in database.logins)
    counterparts = zip(template.roles, database.roles, strict=True) if template is not None else ()
    memberships = "".join(
        f'GRANT "{template_role}" TO "{role}" WITH INHERIT TRUE, SET FALSE;'
        for template_role, role in counterparts
    )
    # The setting would make the creator a member of each, and PostgreSQL search longer.
    await connection.execute(
        f"""
        SET LOCAL createrole_self_grant = '';
        {logins}
        CREATE ROLE "{database.group}" NOLOGIN ROLE {names(database.logins)};
        {memberships}
        {grant_owner(database)}
        """
    )


def grant_owner(database: Database) -> str:
    """Return the statement that lets a manager role create a database for its owner.

    Explicit, because not every server sets createrole_self_grant for its provisioner.
    """
    return f'GRANT "{database.migration("tenant")}" TO CURRENT_USER WITH INHERIT TRUE, SET TRUE'


async def count(connection: Connection, database: Database) -> int:
    """Return how many of a database's roles there are."""
    return await connection.fetchval(
        "SELECT count(*) FROM pg_roles WHERE rolname = ANY($1)", list(database.roles)
    )


async def set_passwords(
    connection: Connection,
    database: Database,
    verifiers: Mapping[str, str],
    connection_limits: Mapping[str, int],
) -> None:
    """Let the services' runtime roles log in, with these SCRAM verifiers from now on."""
    await connection.execute(
        "".join(
            f"""
            ALTER ROLE "{database.runtime(service)}" LOGIN
                CONNECTION LIMIT {connection_limits[service]} PASSWORD '{verifier}';
            """
            for service, verifier in verifiers.items()
        )
    )


async def change_passwords(
    connection: Connection, database: Database, verifiers: Mapping[str, str]
) -> None:
    """Give the services' runtime roles other passwords, by their SCRAM verifiers."""
    await connection.execute(
        "".join(
            f"""ALTER ROLE "{database.runtime(service)}" PASSWORD '{verifier}';"""
            for service, verifier in verifiers.items()
        )
    )


async def sessions(
    connection: Connection, database: Database, services: Collection[str]
) -> list[int]:
    """Return the process ids of the sessions of services' runtime roles in a database."""
    rows = await connection.fetch(
        """
        SELECT pid FROM pg_stat_activity
         WHERE datname = $1 AND usename = ANY($2)
        """,
        database.name,
        [*map(database.runtime, services)],
    )
    return [row["pid"] for row in rows]


async def enable_migration_logins(
    connection: Connection, database: Database, verifiers: Mapping[str, str]
) -> None:
    """Let migration roles log in, for 30 minutes unless that is disabled before."""
    until = (now() + _MIGRATION_LOGIN_TIME).isoformat()
    await connection.execute(
        "".join(
            f"""
            ALTER ROLE "{database.migration(service)}" LOGIN VALID UNTIL '{until}'
                CONNECTION LIMIT {_MIGRATION_SESSIONS} PASSWORD '{verifier}';
            """
            for service, verifier in verifiers.items()
        )
    )


async def disable_migration_logins(
    connection: Connection, database: Database, services: Collection[str]
) -> None:
    """Let migration roles log in no longer."""
    await connection.execute(
        "".join(
            f'ALTER ROLE "{database.migration(service)}" NOLOGIN PASSWORD NULL;'
            for service in services
        )
    )


async def drop(connection: Connection, database: Database) -> None:
    """Drop a database's roles; it has been dropped before, and none of them need exist."""
    await connection.execute(f"DROP ROLE IF EXISTS {names(database.roles)}")


async def drop_manager(connection: Connection, manager: str) -> None:
    """Drop a manager role that manages nothing any more."""
    await connection.execute(f'DROP ROLE IF EXISTS "{manager}"')


async def leave_group(connection: Connection, database: Database, role: str) -> None:
    """Make a role no member of a database's group any more: it may connect there no longer."""
    await connection.execute(f'REVOKE "{database.group}" FROM "{role}"')


async def all_exist(connection: Connection, database: Database) -> bool:
    """Return whether every role of a database exists."""
    found = await connection.fetchval(
        "SELECT count(*) FROM pg_roles WHERE rolname = ANY($1)", list(database.roles)
    )
    return found == len(database.roles)


async def missing_attributes(connection: Connection) -> list[str]:
    """Return which of CREATEDB and CREATEROLE the provisioner lacks."""
    row = await connection.fetchrow(
        "SELECT rolcreatedb, rolcreaterole FROM pg_roles WHERE rolname = current_user"
    )
    has = {"CREATEDB": row and row["rolcreatedb"], "CREATEROLE": row and row["rolcreaterole"]}
    return [name for name, held in has.items() if not held]


async def is_usable_group(connection: Connection, name: str) -> bool:
    """Return whether a name is free, or names a group role that the provisioner manages."""
    row = await connection.fetchrow(
        """
        SELECT rolcanlogin, pg_has_role(oid, 'MEMBER WITH ADMIN OPTION') AS ours
          FROM pg_roles WHERE rolname = $1
        """,
        name,
    )
    return row is None or (row["ours"] and not row["rolcanlogin"])


async def _can_grant(connection: Connection, manager: str, role: str) -> bool:
    """Return whether a manager role can make others members of `role`."""
    return bool(
        await connection.fetchval(
            """
            SELECT pg_has_role(manager.oid, granted.oid, 'MEMBER WITH ADMIN OPTION')
              FROM pg_roles AS manager, pg_roles AS granted
             WHERE manager.rolname = $1 AND granted.rolname = $2
            """,
            manager,
            role,
        )
    )


async def exists(connection: Connection, name: str) -> bool:
    """Return whether there is a role of this name."""
    return await connection.fetchval("SELECT to_regrole($1)", f'"{name}"') is not None


def names(roles: Collection[str]) -> str:
    """Return a quoted list of roles for a statement."""
    return ", ".join(f'"{role}"' for role in roles)
