"""Applies migrations to one database."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg

from dataplane import failures
from tenant.domain.migrations import next_migration
from tenant.domain.passwords import new_password, scram_verifier
from tenant.domain.schema import Failure, Progress
from tenant.errors import ServerUnavailable
from tenant.store.ledger import TransactionEnded

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection, Mapping, Sequence

    from dataplane.pools import Connection
    from tenant.domain.databases import Database
    from tenant.domain.migrations import Migration
    from tenant.store.server import Server
    from tenant.store.stores import Stores

_LOCK_TIMEOUT = "2s"
_ATTEMPTS = 5
_CLOSE_SECONDS = 5
# The password holds 256 random bits and ends within minutes: more rounds would guard nothing.
_ITERATIONS = 1
_LOST = (asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError, OSError)


class Migrator:
    """Applies migrations to one database, each logged in as its service's migration role.

    Those roles can log in only meanwhile. One process at a time may migrate a database.
    """

    def __init__(self, server: Server, stores: Stores) -> None:
        self._server = server
        self._stores = stores

    async def run(
        self, database: Database, migrations: Sequence[Migration], services: Collection[str]
    ) -> Progress:
        """Apply what these services have left, in the order that their requirements ask for.

        A migration that fails stops its own service, and those that require it. Raises
        ServerUnavailable.
        """
        async with self._sessions(database, services) as sessions:
            try:
                return await self._apply_all(migrations, sessions)
            except Exception as error:
                away = any(failures.is_unavailable(error, session) for session in sessions.values())
                if away or isinstance(error, (*_LOST, asyncpg.InterfaceError)):
                    raise ServerUnavailable(self._server.server_id) from error
                raise

    async def _apply_all(
        self, migrations: Sequence[Migration], sessions: Mapping[str, Connection]
    ) -> Progress:
        reader = next(iter(sessions.values()))
        applied = await self._stores.ledger.read(reader)
        numbers = {service: last.number for service, last in applied.items()}
        failed: dict[str, Failure] = {}
        mine = [migration for migration in migrations if migration.service in sessions]
        while (migration := next_migration(mine, numbers, failed)) is not None:
            session = sessions[migration.service]
            failure = await self._apply(session, migration)
            if failure is None:
                numbers[migration.service] = migration.number
            else:
                failed[migration.service] = failure
        return Progress(await self._stores.ledger.read(reader), failed)

    async def _apply(self, session: Connection, migration: Migration) -> Failure | None:
        """Apply one migration; return why it could not be."""
        failure: Failure | None = None
        for attempt in range(_ATTEMPTS):
            try:
                await self._stores.ledger.apply(session, migration)
            except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
                failure = Failure(migration, str(error.sqlstate), str(error))
                pause = random.uniform(0.1, 0.5)  # noqa: S311 - a jitter
                await asyncio.sleep(pause * (attempt + 1))
            except (asyncpg.PostgresError, TransactionEnded) as error:
                if isinstance(error, _LOST) or failures.is_unavailable(error, session):
                    raise
                return Failure(migration, str(error.sqlstate), str(error))
            else:
                return None
        return failure

    @asynccontextmanager
    async def _sessions(
        self, database: Database, services: Collection[str]
    ) -> AsyncGenerator[dict[str, Connection]]:
        """Open a session of each service's migration role; let none of them log in afterwards."""
        passwords = {service: new_password() for service in services}
        verifiers = {s: scram_verifier(p, _ITERATIONS) for s, p in passwords.items()}
        sessions: dict[str, Connection] = {}

        async def login(service: str) -> None:
            role, password = database.migration(service), passwords[service]
            sessions[service] = session = await self._server.login(
                database.name, role, password, lock_timeout=_LOCK_TIMEOUT
            )
            if service != "tenant":  # whose own role is granted what it needs, table by table
                await self._stores.ledger.share(session, database.runtime(service))

        async with self._server.provisioning(database.steward) as connection:
            await self._stores.roles.admit(connection, database, verifiers)
        try:
            for done in await asyncio.gather(*map(login, services), return_exceptions=True):
                if done is not None:
                    raise done
            yield sessions
        finally:
            closing = (session.close(timeout=_CLOSE_SECONDS) for session in sessions.values())
            await asyncio.gather(*closing, return_exceptions=True)
            async with self._server.provisioning(database.steward) as connection:
                await self._stores.roles.dismiss(connection, database, services)
