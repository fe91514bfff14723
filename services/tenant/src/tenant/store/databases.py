"""The databases of a server: made closed, opened when walled off, marked as ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg

from tenant.domain.databases import TENANT_PREFIX, Database
from tenant.store.roles import names

if TYPE_CHECKING:
    from collections.abc import Collection

    from dataplane.pools import Connection

_INVALID = -2  # what PostgreSQL sets as the limit of a database whose DROP was interrupted
_TERMINATION_MS = 5000
_TEMPLATE_GONE = (
    asyncpg.InsufficientPrivilegeError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.ObjectInUseError,
)
# Explicit, because not every server sets createrole_self_grant for its provisioner.
_OWNERSHIP = 'GRANT "{}" TO CURRENT_USER WITH INHERIT TRUE, SET TRUE'
# The builtin locale: an upgrade of the C library cannot make indexes wrong.
_EMPTY = """
    template0 ENCODING 'UTF8' LOCALE 'C' LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'
"""


class DatabaseStore:
    """Statements of the provisioner. Names are made by us, so none needs escaping."""

    async def create(
        self, connection: Connection, database: Database, template: str | None = None
    ) -> None:
        """Make a database that nobody can enter, unless it is there: empty, or as a template is."""
        found = await connection.fetchrow(
            "SELECT datconnlimit FROM pg_database WHERE datname = $1", database.name
        )
        if found is not None and found["datconnlimit"] == _INVALID:
            await self.drop(connection, database.name)
        elif found is not None:
            return
        owner = database.migration("tenant")
        await connection.execute(_OWNERSHIP.format(owner))
        try:
            await self._copy(
                connection, database.name, owner, f'"{template}"' if template else _EMPTY
            )
        except _TEMPLATE_GONE:
            await self._copy(connection, database.name, owner, _EMPTY)

    async def _copy(self, connection: Connection, name: str, owner: str, source: str) -> None:
        try:
            await connection.execute(
                f"""
                CREATE DATABASE "{name}" OWNER "{owner}" ALLOW_CONNECTIONS false TEMPLATE {source}
                """
            )
        except (asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
            # A server finishes alone what a process that was killed had begun.
            return

    async def wall_off(
        self, connection: Connection, database: Database, marker: str, entrants: Collection[str]
    ) -> None:
        """Mark a database, let these roles in and nobody else, and open it."""
        await connection.execute(
            f"""
            COMMENT ON DATABASE "{database.name}" IS '{marker}';
            REVOKE ALL ON DATABASE "{database.name}" FROM PUBLIC;
            GRANT CONNECT ON DATABASE "{database.name}" TO {names(entrants)};
            ALTER DATABASE "{database.name}" ALLOW_CONNECTIONS true;
            REVOKE SET OPTION FOR "{database.migration("tenant")}" FROM CURRENT_USER
            """
        )

    async def adopt(self, connection: Connection, database: Database) -> None:
        """Make an existing, open database one of ours: the same owner, the same wall."""
        owner = database.migration("tenant")
        await connection.execute(
            f"""
            {_OWNERSHIP.format(owner)};
            ALTER DATABASE "{database.name}" OWNER TO "{owner}";
            REVOKE ALL ON DATABASE "{database.name}" FROM PUBLIC;
            GRANT CONNECT ON DATABASE "{database.name}" TO "{database.group}", CURRENT_USER
            """
        )

    async def mark(self, connection: Connection, database: Database, marker: str) -> None:
        await connection.execute(f"COMMENT ON DATABASE \"{database.name}\" IS '{marker}'")

    async def open(self, connection: Connection, database: Database) -> None:
        """Let a database's roles in again."""
        await connection.execute(
            f"""
            GRANT "{database.group}" TO {names(database.logins)};
            ALTER DATABASE "{database.name}" ALLOW_CONNECTIONS true
            """
        )

    async def close(self, connection: Connection, database: Database) -> None:
        """Let nobody in, and end the sessions of the database's roles; wait until they are gone.

        Afterwards none of the roles is a member of the group, and the steward has no rights of
        theirs but the owner's, by which it manages the database.
        """
        others = names([role for role in database.logins if role != database.migration("tenant")])
        # Only who has a role's rights may end its sessions.
        await connection.execute(
            f"""
            ALTER DATABASE "{database.name}" ALLOW_CONNECTIONS false;
            REVOKE "{database.group}" FROM {names(database.logins)};
            GRANT {others} TO CURRENT_USER WITH INHERIT TRUE
            """
        )
        while await connection.fetchval(
            """
            SELECT count(pg_terminate_backend(pid, $3))
              FROM pg_stat_activity
             WHERE datname = $1 AND usename = ANY($2)
            """,
            database.name,
            list(database.logins),
            _TERMINATION_MS,
        ):
            pass
        await connection.execute(f"REVOKE {others} FROM CURRENT_USER")

    async def opened(self, connection: Connection) -> set[str]:
        """Return the names of the databases that let anybody in."""
        rows = await connection.fetch("SELECT datname FROM pg_database WHERE datallowconn")
        return {row["datname"] for row in rows}

    async def become_template(
        self, connection: Connection, database: Database, name: str, entrants: Collection[str]
    ) -> None:
        """Close a database for ever and rename it: from now on it is there to be copied."""
        await connection.execute(
            f"""
            ALTER DATABASE "{database.name}" ALLOW_CONNECTIONS false IS_TEMPLATE true;
            REVOKE ALL ON DATABASE "{database.name}" FROM {names(entrants)}
            """
        )
        await connection.execute(f'ALTER DATABASE "{database.name}" RENAME TO "{name}"')

    async def templates(self, connection: Connection, prefix: str) -> list[str]:
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

    async def drop_template(self, connection: Connection, name: str) -> None:
        """Drop a template, unless it is being copied."""
        try:
            await connection.execute(f'ALTER DATABASE "{name}" IS_TEMPLATE false')
            await connection.execute(f'DROP DATABASE IF EXISTS "{name}"')
        except (asyncpg.ObjectInUseError, asyncpg.InvalidCatalogNameError):
            return

    async def drop(self, connection: Connection, name: str) -> None:
        await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    async def marked(self, connection: Connection, marker: str) -> dict[Database, str]:
        """Return the server's tenant databases of a marker, each with what follows it."""
        rows = await connection.fetch(
            """
            SELECT datname, substr(shobj_description(d.oid, 'pg_database'), length($2) + 2) AS rest,
                   (SELECT m.member::regrole::text
                      FROM pg_auth_members AS m
                     WHERE m.roleid = d.datdba AND m.inherit_option
                     LIMIT 1) AS steward
              FROM pg_database AS d
             WHERE starts_with(datname, $1)
               AND starts_with(shobj_description(d.oid, 'pg_database'), $2)
            """,
            TENANT_PREFIX,
            marker,
        )
        return {Database(row["datname"], row["steward"] or ""): row["rest"] for row in rows}

    async def open_to_all(self, connection: Connection) -> list[str]:
        """Return which of a server's own databases every role may enter."""
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
