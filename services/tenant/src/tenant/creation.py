"""The creation of a tenant as a saga."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from dataplane import audit
from tenant.domain.databases import new_tenant_database
from tenant.domain.migrations import MigrationTarget, unpublished_services
from tenant.domain.operations import RESULT, OperationKind
from tenant.domain.tenants import Tenant, TenantState, path_prefix
from tenant.errors import (
    MigrationFailed,
    MigrationsUnpublished,
    NoServerFree,
    TenantNotFound,
    TenantNotReady,
)
from tenant.operations.saga import Saga
from tenant.operations.saga import Step as SagaStep
from tenant.provisioning import new_logins
from tenant.store import (
    audit_logs,
    credentials,
    identities,
    operations,
    published_migrations,
    schema_states,
    servers,
    tenants,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from dataplane.pools import Connection
    from tenant.domain.encryption import KeyRing
    from tenant.domain.operations import Operation
    from tenant.operations.operations import Operations
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
    """Creates tenants, each by an operation that begins with the tenant's row."""

    def __init__(
        self,
        servers: DatabaseServers,
        provisioning: Provisioning,
        activation: TenantActivation,
        begun: Operations,
        key_ring: KeyRing,
        connections_per_role: int,
    ) -> None:
        self._servers = servers
        self._operations = begun
        self._provisioning = provisioning
        self._activation = activation
        self._key_ring = key_ring
        self._connections_per_role = connections_per_role

    def saga(self) -> Saga:
        """Return the steps. There is no way back: DeleteTenant removes what failed."""
        steps = {
            Step.ROLES: self._create_roles,
            Step.DATABASE: self._create_database,
            Step.SCHEMA: self._migrate,
            Step.ACTIVATION: self._activate,
        }
        return Saga(
            OperationKind.CREATE_TENANT,
            [SagaStep(name, _of_creating(step)) for name, step in steps.items()],
        )

    async def begin(
        self,
        connection: Connection,
        tenant_id: str,
        request_id: str,
        name: str,
        labels: Mapping[str, str],
    ) -> Tenant | None:
        """Insert the tenant's row and its roles' passwords, in the caller's transaction.

        The server is one that has `labels` and room. None if an id is in use. Raises NoServerFree.
        """
        database = new_tenant_database(self._servers.main.management)
        passwords = new_logins()
        own = passwords.pop("tenant")
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
        return tenant

    async def operation(self, connection: Connection, tenant: Tenant) -> Operation:
        """Return the operation that creates a tenant, in the caller's transaction.

        One that has failed runs again. A creation that an earlier release began has none yet.
        """
        begun = await self._operations.begin(
            connection,
            OperationKind.CREATE_TENANT,
            tenant.tenant_id,
            f"create/{tenant.database.name}",  # no caller's: those of other calls may be the same
            {},
        )
        if begun.stuck_reason:  # it waits: who asks is to be told at once whether it must
            return await operations.reopen(connection, begun.operation_id) or begun
        return begun

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
            async with own.transaction():  # one for all: each commit waits for the disk
                if await identities.insert(own, tenant_id):
                    details = {"name": tenant.name}
                    await audit.append(own, "tenant.create", "tenant", tenant_id, details)
                await audit_logs.chain_within(own)
                await self._provisioning.protect(own, server_id, database)

    async def _activate(self, connection: Connection, tenant: Tenant) -> None:
        await self._provisioning.mark(connection, tenant.server_id, tenant.database)
        await self._activation.run(connection, tenant, "tenant.create")

    async def _passwords(self, connection: Connection, tenant: Tenant) -> dict[str, str]:
        tenant_id = tenant.tenant_id
        found = await credentials.of_tenant(connection, self._key_ring, tenant_id)
        own = await credentials.own_password(connection, self._key_ring, tenant_id)
        return {service: known.password for service, known in found.items()} | {"tenant": own}


def _of_creating(
    step: Callable[[Connection, Tenant], Awaitable[None]],
) -> Callable[[Connection, Operation], Awaitable[Mapping[str, object]]]:
    """Return a step that is given the tenant, unless that is active already."""

    async def run(connection: Connection, operation: Operation) -> Mapping[str, object]:
        tenant = await tenants.find(connection, operation.tenant_id)
        if tenant is None:
            raise TenantNotFound(operation.tenant_id)
        if not tenant.was_active:
            if tenant.state is not TenantState.CREATING:  # it was deleted
                raise TenantNotReady(tenant.tenant_id, tenant.state)
            await step(connection, tenant)
        return {RESULT: {"tenant_id": tenant.tenant_id, "database": tenant.database.name}}

    return run
