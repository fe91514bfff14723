"""The creation of a tenant as a saga: idempotent steps, the last completed one recorded."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import TYPE_CHECKING

from dataplane import audit
from tenant.domain.databases import SERVICES, new_tenant_database, template_database
from tenant.domain.migrations import MigrationTarget, unpublished_services
from tenant.domain.passwords import new_password, scram_verifier
from tenant.domain.schema import MigrationProgress
from tenant.domain.tenants import Tenant, TenantState
from tenant.errors import MigrationFailed, MigrationsUnpublished, TenantNotFound
from tenant.store import (
    applied_migrations,
    audit_logs,
    credentials,
    databases,
    identities,
    installation,
    published_migrations,
    roles,
    sagas,
    schema_states,
    tenants,
)

if TYPE_CHECKING:
    from dataplane.pools import Connection
    from tenant.domain.encryption import KeyRing
    from tenant.rollout.rollout import Rollout
    from tenant.rollout.template import TemplateDatabase
    from tenant.store.server import ProvisionedServer

# PostgreSQL creates no more databases a second when more are created concurrently.
_CONCURRENT_CREATIONS = 2


class Step(StrEnum):
    """The steps after the insertion of the tenant's row, in this order."""

    ROLES = "roles"
    DATABASE = "database"
    SCHEMA = "schema"
    ACTIVATION = "activation"


class TenantActivation:
    """Makes a tenant active once its database has every published migration."""

    def __init__(self, rollout: Rollout) -> None:
        self._rollout = rollout

    async def run(self, connection: Connection, tenant: Tenant, action: str) -> Tenant:
        """Migrate the database and set the state; `connection` holds the tenant's lock.

        Raises MigrationFailed, MigrationsUnpublished and ServerUnavailable.
        """
        while True:
            await self.migrate(connection, tenant)
            async with connection.transaction():
                # A publication is either seen here, or sees this tenant active.
                await published_migrations.lock_shared(connection)
                if await schema_states.is_behind(connection, tenant.tenant_id):
                    continue
                active = await tenants.set_state(connection, tenant.tenant_id, TenantState.ACTIVE)
                if active is None:
                    raise TenantNotFound(tenant.tenant_id)
                details = {"generation": active.generation}
                await audit.append(connection, action, "tenant", tenant.tenant_id, details)
                return active

    async def migrate(self, connection: Connection, tenant: Tenant) -> None:
        """Apply published migrations. Raises MigrationFailed, MigrationsUnpublished."""
        progress = await self._rollout.migrate(
            connection, tenant.tenant_id, tenant.database, MigrationTarget.TENANT
        )
        for failure in progress.failures.values():
            migration = failure.migration
            raise MigrationFailed(migration.service, migration.number, failure.sqlstate)
        if not progress.applied and await schema_states.is_behind(connection, tenant.tenant_id):
            published = await published_migrations.list_for(connection, MigrationTarget.TENANT)
            raise MigrationsUnpublished(unpublished_services(published, ()))


class TenantCreation:
    """Creates tenants. A creation that was interrupted anywhere is resumed by `finish`.

    Each step checks what exists before it acts, so a step whose record was lost can run again.
    """

    def __init__(
        self,
        server: ProvisionedServer,
        activation: TenantActivation,
        template: TemplateDatabase,
        key_ring: KeyRing,
        connections_per_role: int,
    ) -> None:
        self._server = server
        self._template = template
        self._activation = activation
        self._key_ring = key_ring
        self._connections_per_role = connections_per_role
        self._slots = asyncio.Semaphore(_CONCURRENT_CREATIONS)
        self._steps = {
            Step.ROLES: self._create_roles,
            Step.DATABASE: self._create_database,
            Step.SCHEMA: self._migrate,
            Step.ACTIVATION: self._activate,
        }

    async def begin(
        self, connection: Connection, tenant_id: str, request_id: str, name: str
    ) -> Tenant | None:
        """Insert the tenant's row and its roles' passwords; None if an id is in use."""
        database = new_tenant_database(self._server.management)
        passwords = {service: new_password() for service in SERVICES}
        host, port, own = self._server.host, self._server.port, passwords.pop("tenant")
        url = credentials.encrypted_url(self._key_ring, tenant_id, host, port, database, own)
        async with connection.transaction():
            tenant = await tenants.insert(
                connection, tenant_id, request_id, name, self._server.server_id, database, url
            )
            if tenant is not None:
                await credentials.insert(
                    connection, self._key_ring, tenant_id, passwords, self._connections_per_role
                )
                await sagas.insert(connection, tenant_id)
        return tenant

    async def finish(self, connection: Connection, tenant: Tenant) -> Tenant:
        """Run the steps that are not recorded yet; `connection` holds the tenant's lock.

        Raises MigrationFailed, MigrationsUnpublished and ServerUnavailable.
        """
        last = await sagas.last_step(connection, tenant.tenant_id)
        steps = list(Step)
        for step in steps[steps.index(Step(last)) + 1 :] if last else steps:
            await self._steps[step](connection, tenant)
            await sagas.record_step(connection, tenant.tenant_id, step)
        active = await tenants.find(connection, tenant.tenant_id)
        if active is None:
            raise TenantNotFound(tenant.tenant_id)
        return active

    async def _create_roles(self, _: Connection, tenant: Tenant) -> None:
        manager, template = tenant.database.manager, template_database(self._server.management)
        async with self._server.provisioner() as provisioner:
            await roles.ensure_manager(provisioner, manager, template)
        async with self._server.provisioner(manager) as provisioner:
            await roles.create(provisioner, tenant.database, template)

    async def _create_database(self, connection: Connection, tenant: Tenant) -> None:
        marker, database = await installation.marker(connection), tenant.database
        template = await self._template.newest()
        passwords = asyncio.create_task(self._set_role_passwords(connection, tenant))
        try:
            async with self._slots, self._server.provisioner(database.manager) as provisioner:
                await databases.create(provisioner, database, template)
                await passwords
                await databases.restrict_connect(
                    provisioner, database, f"{marker} creating", [database.group]
                )
        finally:
            passwords.cancel()

    async def _set_role_passwords(self, connection: Connection, tenant: Tenant) -> None:
        """Let the services' roles log in. It takes as long as CREATE DATABASE, so both run at once.

        PostgreSQL computes every verifier once more, to make sure that no password is empty.
        """
        found = await credentials.of_tenant(connection, self._key_ring, tenant.tenant_id)
        own = await credentials.own_password(connection, self._key_ring, tenant.tenant_id)
        passwords = {service: credential.password for service, credential in found.items()}
        passwords["tenant"] = own
        verifiers = {service: scram_verifier(password) for service, password in passwords.items()}
        limits = dict.fromkeys(verifiers, self._connections_per_role)
        async with self._server.provisioner(tenant.database.manager) as provisioner:
            await roles.set_passwords(provisioner, tenant.database, verifiers, limits)

    async def _migrate(self, connection: Connection, tenant: Tenant) -> None:
        """Apply migrations, then insert the tenant's identity and its first audit entry.

        A copy of a template has migrations already, by its table `schema_migrations`.
        """
        tenant_id = tenant.tenant_id
        password = await credentials.own_password(connection, self._key_ring, tenant_id)
        role = tenant.database.runtime("tenant")
        own = await self._server.login(tenant.database.name, role, password)
        try:
            progress = MigrationProgress(await applied_migrations.last_by_service(own))
            await schema_states.record(connection, tenant_id, progress)
            await self._activation.migrate(connection, tenant)
            async with own.transaction():
                if await identities.insert(own, tenant_id):
                    details = {"name": tenant.name}
                    await audit.append(own, "tenant.create", "tenant", tenant_id, details)
            await audit_logs.chain(own)
        finally:
            own.terminate()

    async def _activate(self, connection: Connection, tenant: Tenant) -> None:
        marker = await installation.marker(connection)
        async with self._server.provisioner(tenant.database.manager) as provisioner:
            await databases.set_marker(provisioner, tenant.database, f"{marker} ready")
        await self._activation.run(connection, tenant, "tenant.create")
