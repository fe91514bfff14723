"""Sessions of the migration roles of one database, to read or load its tables."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tenant.domain.databases import SERVICES
from tenant.domain.passwords import new_password, scram_verifier
from tenant.store import roles
from tenant.transfer import tables

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from dataplane.pools import Connection
    from tenant.domain.databases import Database
    from tenant.store.server import ProvisionedServer

_ITERATIONS = 1  # the password has 256 random bits and is valid for minutes
_CLOSE_SECONDS = 5.0


@asynccontextmanager
async def table_sessions(
    server: ProvisionedServer, database: Database
) -> AsyncGenerator[dict[str, Connection]]:
    """Open a session of each service's migration role, by service; they can log in only meanwhile.

    The caller makes sure that nobody migrates the database at the same time. Raises
    ServerUnavailable.
    """
    passwords = {service: new_password() for service in SERVICES}
    verifiers = {s: scram_verifier(p, _ITERATIONS) for s, p in passwords.items()}
    sessions: dict[str, Connection] = {}

    async def login(service: str) -> None:
        role, password = database.migration(service), passwords[service]
        sessions[service] = session = await server.login(database.name, role, password)
        await tables.use_text_format(session)

    async with server.provisioner(database.manager) as provisioner:
        await roles.enable_migration_logins(provisioner, database, verifiers)
    try:
        for done in await asyncio.gather(*map(login, SERVICES), return_exceptions=True):
            if done is not None:
                raise done
        yield sessions
    finally:
        closing = (session.close(timeout=_CLOSE_SECONDS) for session in sessions.values())
        await asyncio.gather(*closing, return_exceptions=True)
        async with server.provisioner(database.manager) as provisioner:
            await roles.disable_migration_logins(provisioner, database, SERVICES)


@asynccontextmanager
async def one_snapshot(sessions: dict[str, Connection]) -> AsyncGenerator[str]:
    """Have all sessions read at one snapshot inside the block; yield its id, for others to use."""
    first, *others = sessions.values()
    begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
    await first.execute(begin)
    try:
        snapshot: str = await first.fetchval("SELECT pg_export_snapshot()")
        for session in others:
            await session.execute(f"{begin}; SET TRANSACTION SNAPSHOT '{snapshot}'")
        yield snapshot
    finally:
        for session in sessions.values():
            if not session.is_closed():
                await session.execute("ROLLBACK")
