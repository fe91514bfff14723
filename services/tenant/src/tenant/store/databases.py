"""CREATE DATABASE and ALTER DATABASE: statements of the provisioner on a database server.

A database is created without CONNECT for anybody, and accepts connections only once its privileges
are set. Names are made by this service, so none needs escaping.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg

from tenant.domain.databases import TENANT_PREFIX, Database
from tenant.store.database_drops import drop, drop_own, terminate_sessions
from tenant.store.roles import grant_owner, names

if TYPE_CHECKING:
    from collections.abc import Collection

    from dataplane.pools import Connection

_INVALID_DATABASE = -2  # what PostgreSQL sets as the limit of a database whose DROP was interrupted
_TEMPLATE_MISSING_ERRORS = (
    asyncpg.InsufficientPrivilegeError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.ObjectInUseError,
)
# The builtin locale: an upgrade of the C library cannot make indexes wrong.
_EMPTY_TEMPLATE = """
    template0 ENCODING 'UTF8' LOCALE 'C' LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'
"""


async def create_base(connection: Connection, name: str) -> None:
    """Create a database without tables, that belongs to the provisioner.

    One that a process left which died is dropped before, with its sessions. Raises DatabaseInUse.
    """
    await drop_own(connection, name)
    await connection.execute(
        f'CREATE DATABASE "{name}" ALLOW_CONNECTIONS false TEMPLATE {_EMPTY_TEMPLATE}'
    )
    await connection.execute(
        f"""
        REVOKE ALL ON DATABASE "{name}" FROM PUBLIC;
        ALTER DATABASE "{name}" ALLOW_CONNECTIONS true
        """
    )


async def convert_base(connection: Connection, name: str) -> None:
    """Make it a template that accepts no connections."""
    await connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false IS_TEMPLATE true')


async def create(
    connection: Connection, database: Database, base: str, template: str | None = None
) -> None:
    """Create a database that accepts no connections, unless it exists.

    It is a copy of `template`, or when there is none or it is gone, of the database `base`, which
    has no tables.
    """
    found = await connection.fetchrow(
        "SELECT datconnlimit FROM pg_database WHERE datname = $1", database.name
    )
    if found is not None and found["datconnlimit"] == _INVALID_DATABASE:
        await drop(connection, database)
    elif found is not None:
        return
    owner = database.migration("tenant")
    if not await connection.fetchval("SELECT pg_has_role($1, 'SET')", owner):
        await connection.execute(grant_owner(database))
    sources = [f'"{template}"'] * (template is not None) + [f'"{base}"']
    for source in sources:
        try:
            await _create_from(connection, database.name, owner, source)
        except _TEMPLATE_MISSING_ERRORS:
            continue
        return
    await _create_from(connection, database.name, owner, _EMPTY_TEMPLATE)


async def _create_from(connection: Connection, name: str, owner: str, source: str) -> None:
    try:
        await connection.execute(
            f"""
            CREATE DATABASE "{name}" OWNER "{owner}" ALLOW_CONNECTIONS false TEMPLATE {source}
            """
        )
    except (asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
        # A server goes on with CREATE DATABASE when the process that asked for it was killed.
        return


async def restrict_connect(
    connection: Connection, database: Database, marker: str, roles: Collection[str]
) -> None:
    """Grant CONNECT to `roles` and nobody else, set the marker, and accept connections."""
    await connection.execute(
        f"""
        COMMENT ON DATABASE "{database.name}" IS '{marker}';
        REVOKE ALL ON DATABASE "{database.name}" FROM PUBLIC;
        GRANT CONNECT ON DATABASE "{database.name}" TO {names(roles)};
        ALTER DATABASE "{database.name}" ALLOW_CONNECTIONS true;
        REVOKE SET OPTION FOR "{database.migration("tenant")}" FROM CURRENT_USER
        """
    )


async def take_ownership(connection: Connection, database: Database) -> None:
    """Give an existing database the owner and the CONNECT privileges of one made here."""
    owner = database.migration("tenant")
    await connection.execute(
        f"""
        {grant_owner(database)};
        ALTER DATABASE "{database.name}" OWNER TO "{owner}";
        REVOKE ALL ON DATABASE "{database.name}" FROM PUBLIC;
        GRANT CONNECT ON DATABASE "{database.name}" TO "{database.group}", CURRENT_USER
        """
    )


async def set_marker(connection: Connection, database: Database, marker: str) -> None:
    """Set the comment by which `find_marked` finds a database."""
    await connection.execute(f"COMMENT ON DATABASE \"{database.name}\" IS '{marker}'")


async def accept_connections(connection: Connection, database: Database) -> None:
    """Let a database's own roles connect again."""
    await connection.execute(
        f"""
        GRANT "{database.group}" TO {names(database.logins)};
        ALTER DATABASE "{database.name}" ALLOW_CONNECTIONS true
        """
    )


async def refuse_connections(
    connection: Connection, database: Database, *, wholly: bool = True
) -> None:
    """Refuse new connections, and terminate the sessions of the database's roles.

    Returns when they are gone. Afterwards none of the roles is a member of the group, and the
    manager role has no privileges of theirs but the owner's, by which it manages the database.
    Unless `wholly`, the provisioner can connect still.
    """
    await connection.execute(
        f"""
        ALTER DATABASE "{database.name}" ALLOW_CONNECTIONS {str(not wholly).lower()};
        REVOKE "{database.group}" FROM {names(database.logins)}
        """
    )
    await terminate_sessions(connection, database)


async def admit_provisioner(connection: Connection, database: Database) -> None:
    """Accept connections of the provisioner; of others only if the group has them."""
    await connection.execute(f'ALTER DATABASE "{database.name}" ALLOW_CONNECTIONS true')


async def sequence_count(connection: Connection) -> int:
    """Return how many sequences the tables of the session's database have."""
    return await connection.fetchval(
        """
        SELECT count(*) FROM pg_class
         WHERE relnamespace = 'public'::regnamespace AND relkind = 'S'
        """
    )


async def accepting_connections(connection: Connection) -> set[str]:
    """Return the names of the databases that accept connections."""
    rows = await connection.fetch("SELECT datname FROM pg_database WHERE datallowconn")
    return {row["datname"] for row in rows}


async def convert_to_template(
    connection: Connection, database: Database, name: str, roles: Collection[str]
) -> None:
    """Rename a database and make it a template that accepts no connections.

    `roles` lose what `restrict_connect` has granted them.
    """
    await connection.execute(
        f"""
        ALTER DATABASE "{database.name}" ALLOW_CONNECTIONS false IS_TEMPLATE true;
        REVOKE ALL ON DATABASE "{database.name}" FROM {names(roles)}
        """
    )
    await connection.execute(f'ALTER DATABASE "{database.name}" RENAME TO "{name}"')


async def templates(connection: Connection, prefix: str) -> list[str]:
    """Return the templates whose names begin so, the newest first."""
    rows = await connection.fetch(
        """
        SELECT datname FROM pg_database
         WHERE datistemplate AND NOT datallowconn AND starts_with(datname, $1)
         ORDER BY oid DESC
        """,
        prefix,
    )
    return [row["datname"] for row in rows]


async def drop_template(connection: Connection, name: str) -> None:
    """Drop a template, unless it is being copied."""
    try:
        await connection.execute(f'ALTER DATABASE "{name}" IS_TEMPLATE false')
        await connection.execute(f'DROP DATABASE IF EXISTS "{name}"')
    except (asyncpg.ObjectInUseError, asyncpg.InvalidCatalogNameError):
        return


async def exists(connection: Connection, database: Database) -> bool:
    """Return whether there is a database of this name, even one whose DROP was interrupted."""
    sql = "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)"
    return bool(await connection.fetchval(sql, database.name))


async def usable(connection: Connection, database: Database) -> bool:
    """Return whether there is a database of this name whose DROP was not interrupted.

    Of one whose DROP was, the server refuses everything but DROP DATABASE, and ends the session.
    """
    sql = "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1 AND datconnlimit <> $2)"
    return bool(await connection.fetchval(sql, database.name, _INVALID_DATABASE))


async def find_marked(connection: Connection, marker: str) -> dict[Database, str]:
    """Return the tenant databases whose comment begins with `marker`, each with the rest of it."""
    rows = await connection.fetch(
        """
        SELECT datname, substr(shobj_description(d.oid, 'pg_database'), length($2) + 2) AS rest,
               (SELECT m.member::regrole::text
                  FROM pg_auth_members AS m
                 WHERE m.roleid = d.datdba AND m.inherit_option
                 LIMIT 1) AS manager
          FROM pg_database AS d
         WHERE starts_with(datname, $1)
           AND starts_with(shobj_description(d.oid, 'pg_database'), $2)
        """,
        TENANT_PREFIX,
        marker,
    )
    return {Database(row["datname"], row["manager"] or ""): row["rest"] for row in rows}


async def connectable_by_public(connection: Connection) -> list[str]:
    """Return those of `postgres` and `template1` to which PUBLIC has CONNECT."""
    rows = await connection.fetch(
        """
        SELECT datname
          FROM pg_database
         WHERE datname IN ('postgres', 'template1')
           AND has_database_privilege('public', oid, 'CONNECT')
         ORDER BY datname
        """
    )
    return [row["datname"] for row in rows]
