"""The creation of a tenant, in steps that can each be done again."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import TYPE_CHECKING

from dataplane import audit
from tenant.domain.databases import SERVICES, new_tenant_database, template_database
from tenant.domain.migrations import Target, unpublished_services
from tenant.domain.passwords import new_password, scram_verifier
from tenant.domain.schema import Progress
from tenant.domain.tenants import Tenant, TenantState
from tenant.errors import MigrationFailed, MigrationsUnpublished, TenantNotFound

if TYPE_CHECKING:
    from dataplane.pools import Connection
    from tenant.rollout.rollout import Rollout
    from tenant.rollout.template import Template
    from tenant.store.server import Server
    from tenant.store.stores import Stores

# More at a time make no more databases on one server.
_CREATIONS_AT_ONCE = 2


class Step(StrEnum):
    """What has been done, in this order, once the intent is written."""

    ROLES = "roles"
    DATABASE = "database"
    SCHEMA = "schema"
    ACTIVATION = "activation"


class Activation:
    """Makes a tenant active whose database lacks nothing that is published."""

    def __init__(self, rollout: Rollout, stores: Stores) -> None:
        self._rollout = rollout
        self._stores = stores

    async def run(self, connection: Connection, tenant: Tenant, action: str) -> Tenant:
        """Catch up, then activate, under the tenant's lock, which `connection` holds.

        Raises MigrationFailed, MigrationsUnpublished and ServerUnavailable.
        """
        while True:
            await self.catch_up(connection, tenant)
            async with connection.transaction():
                # A publication either is seen here, or sees this tenant active.
                await self._stores.migrations.lock_shared(connection)
                if await self._stores.schema_states.is_behind(connection, tenant.tenant_id):
                    continue
                state = TenantState.ACTIVE
                active = await self._stores.tenants.change_state(
                    connection, tenant.tenant_id, state
                )
                if active is None:
                    raise TenantNotFound(tenant.tenant_id)
                details = {"generation": active.generation}
                await audit.append(connection, action, "tenant", tenant.tenant_id, details)
                return active

    async def catch_up(self, connection: Connection, tenant: Tenant) -> None:
        """Apply what is published. Raises MigrationFailed, MigrationsUnpublished."""
        progress = await self._rollout.bring(
            connection, tenant.tenant_id, tenant.database, Target.TENANT
        )
        for failure in progress.failures.values():
            migration = failure.migration
            raise MigrationFailed(migration.service, migration.number, failure.sqlstate)
        if not progress.applied and await self._stores.schema_states.is_behind(
            connection, tenant.tenant_id
        ):
            published = await self._stores.migrations.of_target(connection, Target.TENANT)
            raise MigrationsUnpublished(unpublished_services(published, ()))


class Creation:
    """Makes tenants. A creation that was interrupted anywhere goes on where it was.

    Each step looks at what there is before it acts; the step's record only saves looking.
    """

    def __init__(
        self,
        server: Server,
        activation: Activation,
        template: Template,
        stores: Stores,
        connections_per_role: int,
    ) -> None:
        self._server = server
        self._template = template
        self._activation = activation
        self._stores = stores
        self._connections_per_role = connections_per_role
        self._room = asyncio.Semaphore(_CREATIONS_AT_ONCE)
        self._steps = {
            Step.ROLES: self._make_roles,
            Step.DATABASE: self._make_database,
            Step.SCHEMA: self._complete,
            Step.ACTIVATION: self._activate,
        }

    async def begin(
        self, connection: Connection, tenant_id: str, request_id: str, name: str
    ) -> Tenant | None:
        """Write down what is to be made, with its passwords; None if an id has been used."""
        database = new_tenant_database(self._server.management)
        passwords = {service: new_password() for service in SERVICES}
        url = self._stores.credentials.seal_url(
            tenant_id, self._server.host, self._server.port, database, passwords.pop("tenant")
        )
        async with connection.transaction():
            tenant = await self._stores.tenants.insert(
                connection, tenant_id, request_id, name, self._server.server_id, database, url
            )
            if tenant is not None:
                limit = self._connections_per_role
                await self._stores.credentials.insert(connection, tenant_id, passwords, limit)
                await self._stores.sagas.begin(connection, tenant_id)
        return tenant

    async def finish(self, connection: Connection, tenant: Tenant) -> Tenant:
        """Do the steps that are left, under the tenant's lock, which `connection` holds.

        Called again, it goes on. Raises MigrationFailed, MigrationsUnpublished, ServerUnavailable.
        """
        last = await self._stores.sagas.last_step(connection, tenant.tenant_id)
        steps = list(Step)
        for step in steps[steps.index(Step(last)) + 1 :] if last else steps:
            await self._steps[step](connection, tenant)
            await self._stores.sagas.record(connection, tenant.tenant_id, step)
        active = await self._stores.tenants.find(connection, tenant.tenant_id)
        if active is None:
            raise TenantNotFound(tenant.tenant_id)
        return active

    async def _make_roles(self, _: Connection, tenant: Tenant) -> None:
        roles, steward = self._stores.roles, tenant.database.steward
        template = template_database(self._server.management)
        async with self._server.provisioning() as provisioner:
            await roles.ensure_steward(provisioner, steward, template)
        async with self._server.provisioning(steward) as provisioner:
            await roles.create(provisioner, tenant.database, template)

    async def _make_database(self, connection: Connection, tenant: Tenant) -> None:
        marker = await self._stores.installation.marker(connection)
        databases, steward = self._stores.databases, tenant.database.steward
        template = await self._template.newest()
        letting_in = asyncio.create_task(self._let_in(connection, tenant))
        try:
            async with self._room, self._server.provisioning(steward) as provisioner:
                await databases.create(provisioner, tenant.database, template)
                await letting_in
                await databases.wall_off(
                    provisioner, tenant.database, f"{marker} creating", [tenant.database.group]
                )
        finally:
            letting_in.cancel()

    async def _let_in(self, connection: Connection, tenant: Tenant) -> None:
        """Give the services' roles their passwords: beside CREATE DATABASE, as it takes as long.

        The server computes every verifier once more, to make sure that no password is empty.
        """
        credentials = await self._stores.credentials.of_tenant(connection, tenant.tenant_id)
        own = await self._stores.credentials.own_password(connection, tenant.tenant_id)
        passwords = {service: found.password for service, found in credentials.items()}
        passwords["tenant"] = own
        verifiers = {service: scram_verifier(password) for service, password in passwords.items()}
        limits = dict.fromkeys(verifiers, self._connections_per_role)
        async with self._server.provisioning(tenant.database.steward) as provisioner:
            await self._stores.roles.set_passwords(provisioner, tenant.database, verifiers, limits)

    async def _complete(self, connection: Connection, tenant: Tenant) -> None:
        """Bring the tables up to date, and write down whose they are, as the role that will work
        there. A copy of a template tells by its own ledger what it has.
        """
        tenant_id = tenant.tenant_id
        password = await self._stores.credentials.own_password(connection, tenant_id)
        role = tenant.database.runtime("tenant")
        own = await self._server.login(tenant.database.name, role, password)
        try:
            progress = Progress(await self._stores.ledger.read(own))
            await self._stores.schema_states.record(connection, tenant_id, progress)
            await self._activation.catch_up(connection, tenant)
            async with own.transaction():
                if await self._stores.identities.insert(own, tenant_id):
                    details = {"name": tenant.name}
                    await audit.append(own, "tenant.create", "tenant", tenant_id, details)
        finally:
            own.terminate()

    async def _activate(self, connection: Connection, tenant: Tenant) -> None:
        marker = await self._stores.installation.marker(connection)
        async with self._server.provisioning(tenant.database.steward) as provisioner:
            await self._stores.databases.mark(provisioner, tenant.database, f"{marker} ready")
        await self._activation.run(connection, tenant, "tenant.create")
