"""DROP DATABASE, and what has to end before it: statements of the provisioner.

Names are made by this service, so none needs escaping.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import asyncpg

from tenant.errors.deletion import DatabaseInUse
from tenant.store import roles

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from dataplane.pools import Connection
    from tenant.domain.databases import Database

_TERMINATION_MS = 5000
_DROP_SECONDS = 20.0


async def drop(connection: Connection, database: Database) -> None:
    """Drop a database and terminate the sessions of its roles; it need not exist.

    Raises DatabaseInUse when somebody else stays in it.
    """

    async def end_sessions() -> None:
        if await roles.all_exist(connection, database):
            await terminate_sessions(connection, database)

    await _drop(connection, database.name, end_sessions)


async def drop_own(connection: Connection, name: str) -> None:
    """Drop a database that only the session's role may enter, and terminate its sessions.

    It need not exist. Raises DatabaseInUse.
    """

    async def end_sessions() -> None:
        own = await connection.fetchval("SELECT current_user")
        await _terminate(connection, name, [own])

    await _drop(connection, name, end_sessions)


async def terminate_sessions(connection: Connection, database: Database) -> None:
    """Terminate the sessions of the database's roles, and return when they are gone."""
    others = roles.names([role for role in database.logins if role != database.migration("tenant")])
    # Only a member of a role that inherits its privileges may terminate its sessions.
    await connection.execute(f"GRANT {others} TO CURRENT_USER WITH INHERIT TRUE")
    await _terminate(connection, database.name, database.logins)
    await connection.execute(f"REVOKE {others} FROM CURRENT_USER")


async def _drop(
    connection: Connection, name: str, end_sessions: Callable[[], Awaitable[None]]
) -> None:
    """Drop a database after its sessions; both again, for a while, as long as somebody is in it.

    Not WITH (FORCE), which the server refuses where it sees a session that the role may not
    terminate: of an autovacuum worker, and of a role that is not its own and that is only just
    beginning or ending, so that `end_sessions` does not see it. Without, the server has autovacuum
    give way and waits five seconds for the others.
    """
    last = time.monotonic() + _DROP_SECONDS
    while True:
        await end_sessions()
        try:
            await connection.execute(f'DROP DATABASE IF EXISTS "{name}"')
        except asyncpg.ObjectInUseError:
            if time.monotonic() > last:
                raise DatabaseInUse(name, await _users(connection, name)) from None
        else:
            return


async def _users(connection: Connection, name: str) -> list[str]:
    """Return who is in a database: roles, and processes of the server's own."""
    rows = await connection.fetch(
        """
        SELECT DISTINCT coalesce(usename, backend_type) AS user FROM pg_stat_activity
         WHERE datname = $1 ORDER BY 1
        """,
        name,
    )
    return [row["user"] for row in rows]


async def _terminate(connection: Connection, name: str, logins: Collection[str]) -> None:
    while await connection.fetchval(
        """
        SELECT count(pg_terminate_backend(pid, $3))
          FROM pg_stat_activity
         WHERE datname = $1 AND usename = ANY($2)
        """,
        name,
        list(logins),
        _TERMINATION_MS,
    ):
        pass
