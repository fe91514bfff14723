"""The template database: every published table and no row; tenants' databases are copies of it."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg

from servicekit.errors import DomainError
from tenant.domain.databases import SERVICES, AuditRoles, template_database
from tenant.domain.migrations import MigrationTarget, fingerprint, unpublished_services
from tenant.domain.servers import MAIN
from tenant.errors.deletion import DatabaseInUse
from tenant.store import database_drops, databases, published_migrations, roles

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection, Sequence

    from tenant.domain.databases import Database
    from tenant.domain.migrations import Migration
    from tenant.domain.schema import MigrationProgress
    from tenant.rollout.audit_protection import AuditProtection
    from tenant.rollout.migrator import Migrator
    from tenant.store.database_servers import DatabaseServers
    from tenant.store.locks import AdvisoryLocks
    from tenant.store.server import ProvisionedServer

_FINGERPRINT_DIGITS = 12
_log = logging.getLogger(__name__)


class TemplateDatabase:
    """Makes the creation of a tenant independent of the number of migrations.

    A template never changes: another publication creates another one. It only saves time: the
    migrations that a copy lacks, all of them without a template, are applied as to any database.
    """

    def __init__(
        self,
        servers: DatabaseServers,
        migrator: Migrator,
        locks: AdvisoryLocks,
        required_services: Collection[str],
        protection: AuditProtection,
    ) -> None:
        self._protection = protection
        self._servers = servers
        self._migrator = migrator
        self._locks = locks
        self._required_services = required_services
        self._database = template_database(servers.main.management)

    async def refresh(self) -> None:
        """Create a template of what is published on every server that lacks it.

        There is none before every required service has published. A server that is away does
        without until the next publication or start. Raises ServerUnavailable for `main`.
        """
        for server_id in await self._servers.all_ids():
            try:
                await self.refresh_on(await self._servers.of(server_id))
            except DomainError as error:
                if server_id == MAIN:
                    raise
                _log.warning(
                    "a server is away, and has no template database of what is published",
                    extra={
                        "event": "template_database.server_unavailable",
                        "server_id": server_id,
                        "why": error.message,
                    },
                )

    async def prepare(self, server: ProvisionedServer) -> None:
        """Make the roles of the templates and of the audit logs on a server, unless they exist."""
        async with server.provisioner() as provisioner:
            await roles.ensure_manager(provisioner, self._database.manager)
        async with server.provisioner(self._database.manager) as provisioner:
            await roles.create(provisioner, self._database)
        await self._protection.prepare(server)

    async def refresh_on(self, server: ProvisionedServer) -> None:
        """Create a template on one server. Raises ServerUnavailable."""
        async with self._locks.holding(f"template/{server.server_id}") as connection:
            published = await published_migrations.list_for(connection, MigrationTarget.TENANT)
            if unpublished_services(published, self._required_services):
                return
            name = f"{self._database.name}_{fingerprint(published)[:_FINGERPRINT_DIGITS]}"
            async with server.provisioner(self._database.manager) as provisioner:
                known = await databases.templates(provisioner, self._database.name)
            if name not in known:
                await self._try_create(server, name, published)

    @asynccontextmanager
    async def scratch(
        self, server: ProvisionedServer, migrations: Sequence[Migration]
    ) -> AsyncGenerator[tuple[Database, MigrationProgress]]:
        """Make a database with these migrations for the block; yield it and how far they came.

        Only migration roles may connect to it. Raises ServerUnavailable.
        """
        async with self._locks.holding(f"template/{server.server_id}"):
            try:
                yield self._database, await self._fill(server, migrations)
            finally:
                async with server.provisioner(self._database.manager) as provisioner:
                    await database_drops.drop(provisioner, self._database)

    async def newest(self, server: ProvisionedServer) -> str | None:
        """Return the name of a server's newest template, if there is one."""
        async with server.provisioner() as provisioner:
            known = await databases.templates(provisioner, self._database.name)
        return known[0] if known else None

    async def _try_create(
        self, server: ProvisionedServer, name: str, published: list[Migration]
    ) -> None:
        try:
            problems = await self._create(server, name, published)
        except (asyncpg.PostgresError, DatabaseInUse) as error:
            problems = [str(error)]
        if problems:
            _log.warning(
                "no template database can be created",
                extra={
                    "event": "template_database.creation_failed",
                    "server_id": server.server_id,
                    "why": problems,
                },
            )

    async def _create(
        self, server: ProvisionedServer, name: str, published: list[Migration]
    ) -> list[str]:
        """Create a template, and drop all others; return why migrations have failed."""
        database, migration_roles = self._database, self._migration_roles()
        progress = await self._fill(server, published)
        async with server.provisioner(database.manager) as provisioner:
            if progress.failures:
                await database_drops.drop(provisioner, database)
                return [str(failure) for failure in progress.failures.values()]
            await databases.convert_to_template(provisioner, database, name, migration_roles)
        await self._drop_others(server, name)
        return []

    async def _drop_others(self, server: ProvisionedServer, name: str) -> None:
        """Drop the templates before this one; what cannot be dropped now is when the next is made.

        DROP DATABASE waits for a checkpoint, which takes long after many creations.
        """
        try:
            async with server.provisioner(self._database.manager) as provisioner:
                for other in await databases.templates(provisioner, self._database.name):
                    if other != name:
                        await databases.drop_template(provisioner, other)
        except DomainError as error:
            _log.warning(
                "a template database that is not needed any more is left",
                extra={
                    "event": "template_database.left",
                    "server_id": server.server_id,
                    "why": error.message,
                },
            )

    async def _fill(
        self, server: ProvisionedServer, migrations: Sequence[Migration]
    ) -> MigrationProgress:
        """Make the database under its first name, and apply migrations to it."""
        database = self._database
        async with server.provisioner(database.manager) as provisioner:
            await database_drops.drop(provisioner, database)  # left by a process that died
            await databases.create(provisioner, database, AuditRoles(server.management).base)
            await databases.restrict_connect(provisioner, database, "", self._migration_roles())
        services = list(dict.fromkeys(migration.service for migration in migrations))
        return await self._migrator.run(server, database, migrations, services)

    def _migration_roles(self) -> list[str]:
        # Not the group: tenants' roles are members of it, and must not connect here.
        return [*map(self._database.migration, SERVICES)]
