"""Making and dropping a tenant's database with its roles, and switching a tenant to another one."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from dataplane import audit
from tenant.domain.databases import CREATING, READY, SERVICES, AuditRoles, template_database
from tenant.domain.migrations import (
    MigrationTarget,
    applicable_services,
    unpublished_services,
)
from tenant.domain.passwords import new_password, scram_verifier
from tenant.domain.schema import MigrationProgress
from tenant.errors import MigrationFailed, MigrationsUnpublished, TenantNotFound
from tenant.store import (
    applied_migrations,
    credentials,
    database_drops,
    databases,
    installation,
    published_migrations,
    roles,
    schema_states,
    servers,
    tenants,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from dataplane.pools import Connection
    from tenant.domain.databases import Database
    from tenant.domain.encryption import KeyRing
    from tenant.domain.migrations import Migration
    from tenant.domain.tenants import Tenant
    from tenant.rollout.audit_protection import AuditProtection
    from tenant.rollout.migrator import Migrator
    from tenant.rollout.template import TemplateDatabase
    from tenant.store.database_servers import DatabaseServers

# PostgreSQL creates no more databases a second when more are created concurrently.
_CONCURRENT_CREATIONS = 2


def new_logins() -> dict[str, str]:
    """Return a new password for each service's runtime role."""
    return {service: new_password() for service in SERVICES}


class Provisioning:
    """Makes, opens, closes and drops databases on any server; no tenant is active by that.

    Each method checks what exists before it acts, so it may be called again after a crash anywhere.
    On a server that is lost nothing exists, so that nothing is to be closed or dropped there.
    """

    def __init__(
        self,
        servers: DatabaseServers,
        template: TemplateDatabase,
        migrator: Migrator,
        key_ring: KeyRing,
        connections_per_role: int,
        protection: AuditProtection,
    ) -> None:
        self._servers = servers
        self._template = template
        self._migrator = migrator
        self._protection = protection
        self._key_ring = key_ring
        self._connections_per_role = connections_per_role
        self._slots = asyncio.Semaphore(_CONCURRENT_CREATIONS)

    async def create(
        self,
        connection: Connection,
        server_id: str,
        database: Database,
        passwords: Mapping[str, str],
        state: str = CREATING,
        migrations: Sequence[Migration] | None = None,
    ) -> MigrationProgress:
        """Make roles, database and tables; the runtime roles log in with `passwords`.

        `state` is what the database's comment says of it. All published migrations are applied, or
        exactly `migrations`, to an empty database. The table `schema_migrations` is the only one
        with rows. Raises MigrationFailed, MigrationsUnpublished, ServerNotFound, ServerUnavailable.
        """
        await self.create_roles(server_id, database)
        copy = migrations is None
        await self.create_database(connection, server_id, database, passwords, state, copy=copy)
        async with self.session(server_id, database, passwords) as own:
            return await self.migrate(connection, server_id, database, own, migrations)

    async def create_roles(self, server_id: str, database: Database) -> None:
        """Make the roles of a database; none of them can log in yet."""
        server = await self._servers.of(server_id)
        template = template_database(server.management)
        async with server.provisioner() as provisioner:
            await roles.ensure_manager(provisioner, database.manager, template)
        async with server.provisioner(database.manager) as provisioner:
            await roles.create(provisioner, database, template)

    async def create_database(
        self,
        connection: Connection,
        server_id: str,
        database: Database,
        passwords: Mapping[str, str],
        state: str = CREATING,
        *,
        copy: bool = True,
    ) -> None:
        """Make a database, a copy of the template or an empty one, and let its roles log in."""
        server, marker = await self._servers.of(server_id), await installation.marker(connection)
        template = await self._template.newest(server) if copy else None
        # Verifiers take as long as CREATE DATABASE, so both run at once.
        logins = asyncio.create_task(self.set_passwords(server_id, database, passwords))
        try:
            async with self._slots, server.provisioner(database.manager) as provisioner:
                base = AuditRoles(server.management).base
                await databases.create(provisioner, database, base, template)
                await logins
                await databases.restrict_connect(
                    provisioner, database, f"{marker} {state}", [database.group]
                )
        finally:
            logins.cancel()

    async def set_passwords(
        self, server_id: str, database: Database, passwords: Mapping[str, str]
    ) -> None:
        """Let the services' runtime roles log in with these passwords from now on."""
        server = await self._servers.of(server_id)
        # PostgreSQL computes every verifier once more, to make sure that no password is empty.
        verifiers = {service: scram_verifier(password) for service, password in passwords.items()}
        limits = dict.fromkeys(verifiers, self._connections_per_role)
        async with server.provisioner(database.manager) as provisioner:
            await roles.set_passwords(provisioner, database, verifiers, limits)

    @asynccontextmanager
    async def session(
        self, server_id: str, database: Database, passwords: Mapping[str, str]
    ) -> AsyncGenerator[Connection]:
        """Lend a session of the tenant service's runtime role. Raises ServerUnavailable."""
        server = await self._servers.of(server_id)
        role = database.runtime("tenant")
        own = await server.login(database.name, role, passwords["tenant"])
        try:
            yield own
        finally:
            own.terminate()

    async def migrate(
        self,
        connection: Connection,
        server_id: str,
        database: Database,
        own: Connection,
        migrations: Sequence[Migration] | None = None,
    ) -> MigrationProgress:
        """Apply what a database lacks of `migrations`, or of all that are published.

        `own` is what `session` lends. Raises MigrationFailed, MigrationsUnpublished, ServerNotFound
        and ServerUnavailable.
        """
        wanted = migrations
        if wanted is None:
            wanted = await published_migrations.list_for(connection, MigrationTarget.TENANT)
        progress = MigrationProgress(await applied_migrations.last_by_service(own))
        numbers = {service: last.number for service, last in progress.applied.items()}
        services = applicable_services(wanted, numbers)
        if services:
            server = await self._servers.of(server_id)
            progress = await self._migrator.run(server, database, wanted, services)
        for failure in progress.failures.values():
            failed = failure.migration
            raise MigrationFailed(failed.service, failed.number, failure.sqlstate)
        if _lacks(progress, wanted):
            raise MigrationsUnpublished(unpublished_services(wanted, ()))
        return progress

    async def protect(self, own: Connection, server_id: str, database: Database) -> None:
        """Give the audit tables to their last owner; `own` is what `session` lends.

        Before services use them: a statement that meets the change of owners is refused.
        """
        await self._protection.protect(own, await self._servers.of(server_id), database)

    async def mark(
        self, connection: Connection, server_id: str, database: Database, state: str = READY
    ) -> None:
        """Change what a database's comment says of it."""
        server, marker = await self._servers.of(server_id), await installation.marker(connection)
        async with server.provisioner(database.manager) as provisioner:
            await databases.set_marker(provisioner, database, f"{marker} {state}")

    async def open(self, server_id: str, database: Database) -> None:
        """Let a database's own roles connect again. Raises ServerLost."""
        server = await self._servers.of(server_id)
        async with server.provisioner(database.manager) as provisioner:
            await databases.accept_connections(provisioner, database)

    async def close(self, server_id: str, database: Database, *, wholly: bool = True) -> None:
        """Refuse connections to a database, and terminate its roles' sessions.

        Unless `wholly`, the provisioner can connect still.
        """
        if (server := await self._servers.unless_lost(server_id)) is None:
            return
        async with server.provisioner(database.manager) as provisioner:
            await databases.refuse_connections(provisioner, database, wholly=wholly)

    async def admit_provisioner(self, server_id: str, database: Database) -> None:
        """Let the provisioner connect to a database that is closed to everybody."""
        server = await self._servers.of(server_id)
        async with server.provisioner(database.manager) as provisioner:
            await databases.admit_provisioner(provisioner, database)

    async def usable(self, server_id: str, database: Database) -> bool:
        """Return whether a database is there, and no DROP of it was interrupted."""
        if (server := await self._servers.unless_lost(server_id)) is None:
            return False
        async with server.provisioner() as provisioner:
            return await databases.usable(provisioner, database)

    async def drop(self, server_id: str, database: Database) -> None:
        """Drop a database, whoever is connected to it, and its roles; none of them need exist."""
        if (server := await self._servers.unless_lost(server_id)) is None:
            return
        async with server.provisioner() as provisioner:
            if not await roles.exists(provisioner, database.manager):
                return
        async with server.provisioner(database.manager) as provisioner:
            if await databases.exists(provisioner, database):
                # Nobody enters one whose DROP was interrupted, and ALTER DATABASE would be refused.
                closable = await databases.usable(provisioner, database)
                if closable and await roles.all_exist(provisioner, database):
                    await databases.refuse_connections(provisioner, database)
                await database_drops.drop(provisioner, database)
            await roles.drop(provisioner, database)

    async def place(
        self,
        connection: Connection,
        tenant: Tenant,
        server_id: str,
        database: Database,
        passwords: Mapping[str, str],
        progress: MigrationProgress,
        action: str,
        details: Mapping[str, object],
    ) -> Tenant:
        """Make a tenant's row name another database, in one transaction with an audit entry.

        Its generation grows, so that services open new connections. The caller has closed the old
        database before. Raises TenantNotFound.
        """
        tenant_id, others = tenant.tenant_id, dict(passwords)
        own = others.pop("tenant")
        async with connection.transaction():
            host, port = await servers.host_and_port(connection, server_id)
            url = credentials.encrypted_url(self._key_ring, tenant_id, host, port, database, own)
            placed = await tenants.place(connection, tenant_id, server_id, database, url)
            if placed is None:
                raise TenantNotFound(tenant_id)
            await credentials.replace(connection, self._key_ring, tenant_id, others)
            await schema_states.replace(connection, tenant_id, progress)
            said = {"server_id": server_id, "database": database.name, **details}
            await audit.append(connection, action, "tenant", tenant_id, said)
        return placed


def _lacks(progress: MigrationProgress, wanted: Sequence[Migration]) -> bool:
    return any(
        last is None or last.number < migration.number
        for migration in wanted
        for last in [progress.applied.get(migration.service)]
    )
