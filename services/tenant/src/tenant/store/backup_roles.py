"""The temporary login role by which one database is dumped or loaded as a whole.

The provisioner reads no tenant's tables, and each migration role owns those of its service only. A
member of all of them reads and loads everything, and can do nothing in another database. Names are
made by this service, so none needs escaping.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from servicekit.times import now
from tenant.domain.databases import SERVICES
from tenant.store.roles import names

if TYPE_CHECKING:
    from dataplane.pools import Connection
    from tenant.domain.databases import Database

_LOGIN_TIME = timedelta(minutes=10)  # sessions go on beyond it
_SESSIONS = 4
_TERMINATION_MS = 5000


def name_of(database: Database) -> str:
    """Return the name of a database's temporary role."""
    return f"{database.name}_backup"


async def create(connection: Connection, database: Database, verifier: str) -> None:
    """Create the role; one that a process left behind is dropped before, with its sessions."""
    await drop(connection, database)
    role, until = name_of(database), (now() + _LOGIN_TIME).isoformat()
    owners = names([database.group, *map(database.migration, SERVICES)])
    await connection.execute(
        f"""
        SET LOCAL createrole_self_grant = '';
        CREATE ROLE "{role}" LOGIN VALID UNTIL '{until}' CONNECTION LIMIT {_SESSIONS}
            PASSWORD '{verifier}';
        GRANT {owners} TO "{role}" WITH INHERIT TRUE, SET FALSE
        """
    )


async def exists(connection: Connection, database: Database) -> bool:
    """Return whether there is the role of a database."""
    found = await connection.fetchval("SELECT to_regrole($1)", f'"{name_of(database)}"')
    return found is not None


async def drop(connection: Connection, database: Database) -> None:
    """Terminate the role's sessions and drop it; it need not exist."""
    role = name_of(database)
    if not await exists(connection, database):
        return
    # Only a member of a role that inherits its privileges may terminate its sessions.
    await connection.execute(f'GRANT "{role}" TO CURRENT_USER WITH INHERIT TRUE')
    await connection.execute(f'ALTER ROLE "{role}" NOLOGIN')
    while await connection.fetchval(
        "SELECT count(pg_terminate_backend(pid, $2)) FROM pg_stat_activity WHERE usename = $1",
        role,
        _TERMINATION_MS,
    ):
        pass
    await connection.execute(f'DROP ROLE IF EXISTS "{role}"')
