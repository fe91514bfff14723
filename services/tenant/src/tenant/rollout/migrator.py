"""Applies migrations to one database."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg

from dataplane import failures
from servicekit.retries import Backoff, RetryLog, retry
from tenant.domain.migrations import next_migration
from tenant.domain.passwords import new_password, scram_verifier
from tenant.domain.schema import MigrationFailure, MigrationProgress
from tenant.errors import ServerUnavailable
from tenant.store import applied_migrations, roles
from tenant.store.applied_migrations import TransactionEnded
from tenant.store.concurrent_indexes import IndexInvalid

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection, Mapping, Sequence

    from dataplane.pools import Connection
    from tenant.domain.databases import Database
    from tenant.domain.migrations import Migration
    from tenant.store.server import ProvisionedServer

LOCK_SECONDS = 10.0
"""How long a migration is tried again while somebody uses its tables."""

# What a tenant's calls may be held up: they queue behind a statement that waits for its lock. After
# that they have the table for longer than they were held up.
_LOCK_TIMEOUT = "500ms"
_LOCK_BACKOFF = Backoff(1.0, 4.0)
_LOCK_ERRORS = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError)
_CLOSE_SECONDS = 5
_CONNECTION_ERRORS = (asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError, OSError)

_log = logging.getLogger(__name__)


class Migrator:
    """Applies migrations to one database, each in a session of its service's migration role.

    These roles can log in only meanwhile. The caller makes sure that no other process migrates the
    same database.
    """

    async def run(
        self,
        server: ProvisionedServer,
        database: Database,
        migrations: Sequence[Migration],
        services: Collection[str],
        lock_seconds: float = LOCK_SECONDS,
    ) -> MigrationProgress:
        """Apply the pending migrations of these services, each after those that it requires.

        One whose tables are in use is tried again for `lock_seconds`. A migration that fails
        stops its own service, and those that require it. Raises ServerUnavailable.
        """
        async with migration_sessions(server, database, services) as sessions:
            try:
                return await self._apply_all(migrations, sessions, lock_seconds)
            except Exception as error:
                away = any(failures.is_unavailable(error, session) for session in sessions.values())
                if away or isinstance(error, (*_CONNECTION_ERRORS, asyncpg.InterfaceError)):
                    raise ServerUnavailable(server.server_id) from error
                raise

    async def _apply_all(
        self,
        migrations: Sequence[Migration],
        sessions: Mapping[str, Connection],
        lock_seconds: float,
    ) -> MigrationProgress:
        reader = next(iter(sessions.values()))
        applied = await applied_migrations.last_by_service(reader)
        numbers = {service: last.number for service, last in applied.items()}
        failed: dict[str, MigrationFailure] = {}
        pending = [migration for migration in migrations if migration.service in sessions]
        while (migration := next_migration(pending, numbers, failed)) is not None:
            failure = await self._apply(sessions[migration.service], migration, lock_seconds)
            if failure is not None and await self._is_applied(reader, migration):
                failure = None  # by a process that was killed, while this one waited for its locks
            if failure is None:
                numbers[migration.service] = migration.number
            else:
                failed[migration.service] = failure
        return MigrationProgress(await applied_migrations.last_by_service(reader), failed)

    async def _is_applied(self, reader: Connection, migration: Migration) -> bool:
        last = (await applied_migrations.last_by_service(reader)).get(migration.service)
        return last is not None and last.number >= migration.number

    async def _apply(
        self, session: Connection, migration: Migration, lock_seconds: float
    ) -> MigrationFailure | None:
        """Apply one migration; return the failure if there is one."""
        where = {"migrated_service": migration.service, "number": migration.number}
        log = RetryLog(_log, "migration.blocked", "a migration waits for a lock", **where)
        try:
            await retry(
                lambda: applied_migrations.apply(session, migration),
                _LOCK_ERRORS,
                log,
                backoff=_LOCK_BACKOFF,
                timeout_seconds=lock_seconds,
            )
        except (asyncpg.PostgresError, TransactionEnded, IndexInvalid) as error:
            if isinstance(error, _CONNECTION_ERRORS) or failures.is_unavailable(error, session):
                raise
            return MigrationFailure(migration, str(error.sqlstate), str(error))
        return None


@asynccontextmanager
async def migration_sessions(
    server: ProvisionedServer,
    database: Database,
    services: Collection[str],
    *,
    lock_timeout: str = _LOCK_TIMEOUT,
) -> AsyncGenerator[dict[str, Connection]]:
    """Open a session of each service's migration role; disable their logins afterwards.

    Statements wait for locks for `lock_timeout`, a duration as PostgreSQL takes it; 0 is without
    end. The caller holds the lock of the database: sessions of the same role that are left there by
    a killed process are ended. Raises ServerUnavailable.
    """
    passwords = {service: new_password() for service in services}
    verifiers = {s: scram_verifier(p) for s, p in passwords.items()}
    sessions: dict[str, Connection] = {}

    async def login(service: str) -> None:
        role, password = database.migration(service), passwords[service]
        sessions[service] = session = await server.login(
            database.name, role, password, lock_timeout=lock_timeout
        )
        await applied_migrations.end_other_sessions(session)
        if service != "tenant":  # whose migrations grant each privilege by name
            await applied_migrations.set_default_privileges(session, database.runtime(service))

    async with server.provisioner(database.manager) as connection:
        await roles.enable_migration_logins(connection, database, verifiers)
    try:
        for done in await asyncio.gather(*map(login, services), return_exceptions=True):
            if done is not None:
                raise done
        yield sessions
    finally:
        closing = (session.close(timeout=_CLOSE_SECONDS) for session in sessions.values())
        await asyncio.gather(*closing, return_exceptions=True)
        async with server.provisioner(database.manager) as connection:
            await roles.disable_migration_logins(connection, database, services)
