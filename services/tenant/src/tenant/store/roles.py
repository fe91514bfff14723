"""The roles of databases: who may log in where."""

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
_MIGRATION_TIME = timedelta(minutes=30)


class RoleStore:
    """Statements of the provisioner. Names are made by us, so none needs escaping."""

    async def ensure_steward(
        self, connection: Connection, steward: str, template: Database | None = None
    ) -> None:
        """Make a role that the provisioner can act as, unless it is there.

        It can make tenants' roles members of those of `template`.
        """
        statements = ["SET LOCAL createrole_self_grant = ''"]
        if not await self._exists(connection, steward):
            statements += [
                f'CREATE ROLE "{steward}" NOLOGIN CREATEDB CREATEROLE',
                f'GRANT "{steward}" TO CURRENT_USER WITH INHERIT TRUE, SET TRUE',
            ]
        if template is not None and not await self._passes_on(connection, steward, template.group):
            passed_on = names(template.roles)
            statements += [
                f'SET LOCAL ROLE "{template.steward}"',
                f'GRANT {passed_on} TO "{steward}" WITH ADMIN TRUE, INHERIT FALSE, SET FALSE',
            ]
        if len(statements) == 1:
            return
        try:
            await connection.execute(";".join(statements))
        except (asyncpg.DuplicateObjectError, asyncpg.UniqueViolationError):
            return  # another creation has just made it

    async def create(
        self, connection: Connection, database: Database, template: Database | None = None
    ) -> None:
        """Make a database's roles, unless they are there; none of them can log in yet.

        Each becomes a member of its like among the roles of `template`.
        """
        if await self._exists(connection, database.group):
            return
        logins = "".join(f'CREATE ROLE "{role}" NOLOGIN;' for role in database.logins)
        like = zip(template.roles, database.roles, strict=True) if template is not None else ()
        memberships = "".join(
            f'GRANT "{theirs}" TO "{role}" WITH INHERIT TRUE, SET FALSE;' for theirs, role in like
        )
        # Without the setting, which makes members of those who create, walks would be longer.
        await connection.execute(
            f"""
            SET LOCAL createrole_self_grant = '';
            {logins}
            CREATE ROLE "{database.group}" NOLOGIN ROLE {names(database.logins)};
            {memberships}
            """
        )

    async def set_passwords(
        self,
        connection: Connection,
        database: Database,
        verifiers: Mapping[str, str],
        connection_limits: Mapping[str, int],
    ) -> None:
        """Let the services' own roles log in, with these SCRAM verifiers from now on."""
        await connection.execute(
            "".join(
                f"""
                ALTER ROLE "{database.runtime(service)}" LOGIN
                    CONNECTION LIMIT {connection_limits[service]} PASSWORD '{verifier}';
                """
                for service, verifier in verifiers.items()
            )
        )

    async def admit(
        self, connection: Connection, database: Database, verifiers: Mapping[str, str]
    ) -> None:
        """Let migration roles log in for a while: should nobody dismiss them, the password ends."""
        until = (now() + _MIGRATION_TIME).isoformat()
        await connection.execute(
            "".join(
                f"""
                ALTER ROLE "{database.migration(service)}" LOGIN VALID UNTIL '{until}'
                    CONNECTION LIMIT {_MIGRATION_SESSIONS} PASSWORD '{verifier}';
                """
                for service, verifier in verifiers.items()
            )
        )

    async def dismiss(
        self, connection: Connection, database: Database, services: Collection[str]
    ) -> None:
        """Let migration roles log in no longer."""
        await connection.execute(
            "".join(
                f'ALTER ROLE "{database.migration(service)}" NOLOGIN PASSWORD NULL;'
                for service in services
            )
        )

    async def lacking(self, connection: Connection) -> list[str]:
        """Return which of its attributes the provisioner has not."""
        row = await connection.fetchrow(
            "SELECT rolcreatedb, rolcreaterole FROM pg_roles WHERE rolname = current_user"
        )
        has = {"CREATEDB": row and row["rolcreatedb"], "CREATEROLE": row and row["rolcreaterole"]}
        return [name for name, held in has.items() if not held]

    async def is_group(self, connection: Connection, name: str) -> bool:
        """Tell whether a name is free for a group role, or already is one of ours."""
        row = await connection.fetchrow(
            """
            SELECT rolcanlogin, pg_has_role(oid, 'MEMBER WITH ADMIN OPTION') AS ours
              FROM pg_roles WHERE rolname = $1
            """,
            name,
        )
        return row is None or (row["ours"] and not row["rolcanlogin"])

    async def _passes_on(self, connection: Connection, steward: str, role: str) -> bool:
        """Tell whether a steward can make others members of a role."""
        return bool(
            await connection.fetchval(
                """
                SELECT pg_has_role(steward.oid, passed_on.oid, 'MEMBER WITH ADMIN OPTION')
                  FROM pg_roles AS steward, pg_roles AS passed_on
                 WHERE steward.rolname = $1 AND passed_on.rolname = $2
                """,
                steward,
                role,
            )
        )

    async def _exists(self, connection: Connection, name: str) -> bool:
        return await connection.fetchval("SELECT to_regrole($1)", f'"{name}"') is not None


def names(roles: Collection[str]) -> str:
    """Return a list of roles as SQL writes it."""
    return ", ".join(f'"{role}"' for role in roles)
