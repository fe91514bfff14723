"""The creation of a tenant as a saga: idempotent steps, the last completed one recorded."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from dataplane import audit
from tenant.domain.databases import new_tenant_database
from tenant.domain.migrations import MigrationTarget, unpublished_services
from tenant.domain.tenants import Tenant, TenantState, path_prefix
from tenant.errors import MigrationFailed, MigrationsUnpublished, NoServerFree, TenantNotFound
from tenant.provisioning import new_logins
from tenant.store import (
    audit_logs,
    credentials,
    identities,
    published_migrations,
    sagas,
    schema_states,
    servers,
    tenants,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dataplane.pools import Connection
    from tenant.domain.encryption import KeyRing
    from tenant.provisioning import Provisioning
    from tenant.rollout.rollout import Rollout
    from tenant.store.database_servers import DatabaseServers


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
            await self._migrate(connection, tenant)
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

    async def _migrate(self, connection: Connection, tenant: Tenant) -> None:
        progress = await self._rollout.migrate(
            connection,
            tenant.tenant_id,
            tenant.server_id,
            tenant.database,
            MigrationTarget.TENANT,
        )
        for failure in progress.failures.values():
            migration = failure.migration
            raise MigrationFailed(migration.service, migration.number, failure.sqlstate)
        if not progress.applied and await schema_states.is_behind(connection, tenant.tenant_id):
            published = await published_migrations.list_for(connection, MigrationTarget.TENANT)
            if missing := unpublished_services(published, ()):
                raise MigrationsUnpublished(missing)
            # Else something has been published since: it is applied next.


class TenantCreation:
    """Creates tenants. A creation that was interrupted anywhere is resumed by `finish`.

    Each step checks what exists before it acts, so a step whose record was lost can run again.
    """

    def __init__(
        self,
        servers: DatabaseServers,
        provisioning: Provisioning,
        activation: TenantActivation,
        key_ring: KeyRing,
        connections_per_role: int,
    ) -> None:
        self._servers = servers
        self._provisioning = provisioning
        self._activation = activation
        self._key_ring = key_ring
        self._connections_per_role = connections_per_role
        self._steps = {
            Step.ROLES: self._create_roles,
            Step.DATABASE: self._create_database,
            Step.SCHEMA: self._migrate,
            Step.ACTIVATION: self._activate,
        }

    async def begin(
        self,
        connection: Connection,
        tenant_id: str,
        request_id: str,
        name: str,
        labels: Mapping[str, str],
    ) -> Tenant | None:
        """Insert the tenant's row and its roles' passwords; None if an id is in use.

        The server is one that has `labels` and room. Raises NoServerFree.
        """
        database = new_tenant_database(self._servers.main.management)
        passwords = new_logins()
        own = passwords.pop("tenant")
        async with connection.transaction():
            server_id = await servers.choose(connection, labels)
            if server_id is None:
                raise NoServerFree(labels)
            host, port = await servers.host_and_port(connection, server_id)
            url = credentials.encrypted_url(self._key_ring, tenant_id, host, port, database, own)
            tenant = await tenants.insert(
                connection,
                tenant_id,
                request_id,
                name,
                server_id,
                database,
                url,
                labels,
                path_prefix(tenant_id),
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
        await self._provisioning.create_roles(tenant.server_id, tenant.database)

    async def _create_database(self, connection: Connection, tenant: Tenant) -> None:
        passwords = await self._passwords(connection, tenant)
        await self._provisioning.create_database(
            connection, tenant.server_id, tenant.database, passwords
        )

    async def _migrate(self, connection: Connection, tenant: Tenant) -> None:
        """Apply migrations, then insert the tenant's identity and its first audit entry."""
        tenant_id, server_id, database = tenant.tenant_id, tenant.server_id, tenant.database
        passwords = await self._passwords(connection, tenant)
        async with self._provisioning.session(server_id, database, passwords) as own:
            progress = await self._provisioning.migrate(connection, server_id, database, own)
            await schema_states.record(connection, tenant_id, progress)
            async with own.transaction():
                if await identities.insert(own, tenant_id):
                    details = {"name": tenant.name}
                    await audit.append(own, "tenant.create", "tenant", tenant_id, details)
            await audit_logs.chain(own)
            await self._provisioning.protect(own, server_id, database)

    async def _activate(self, connection: Connection, tenant: Tenant) -> None:
        await self._provisioning.mark(connection, tenant.server_id, tenant.database)
        await self._activation.run(connection, tenant, "tenant.create")

    async def _passwords(self, connection: Connection, tenant: Tenant) -> dict[str, str]:
        tenant_id = tenant.tenant_id
        found = await credentials.of_tenant(connection, self._key_ring, tenant_id)
        own = await credentials.own_password(connection, self._key_ring, tenant_id)
        return {service: known.password for service, known in found.items()} | {"tenant": own}
