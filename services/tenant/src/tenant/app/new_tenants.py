"""Tenants that are made of existing data: of a backup, or of another tenant's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataplane import audit
from tenant.domain.databases import new_tenant_database
from tenant.domain.servers import SERVER_LABEL
from tenant.errors import NoServerFree, TenantExists
from tenant.provisioning import new_logins
from tenant.store import credentials, schema_states, servers, tenants

if TYPE_CHECKING:
    from dataplane.pools import Connection
    from tenant.creation import TenantActivation
    from tenant.domain.audit import ChainLink
    from tenant.domain.backups import NewTenant
    from tenant.domain.encryption import KeyRing
    from tenant.domain.operations import Operation
    from tenant.domain.tenants import Tenant
    from tenant.provisioning import Provisioning
    from tenant.signed_anchors import SignedAnchors
    from tenant.store.database_servers import DatabaseServers


class NewTenants:
    """Inserts the row of a tenant that is being made, makes it active, or removes it again."""

    def __init__(
        self,
        database_servers: DatabaseServers,
        provisioning: Provisioning,
        activation: TenantActivation,
        key_ring: KeyRing,
        connections_per_role: int,
        anchors: SignedAnchors,
    ) -> None:
        self._servers = database_servers
        self._provisioning = provisioning
        self._activation = activation
        self._key_ring = key_ring
        self._connections_per_role = connections_per_role
        self._anchors = anchors

    async def insert(
        self, connection: Connection, new: NewTenant, operation: Operation, source_tenant_id: str
    ) -> Tenant:
        """Insert a tenant in state `creating`, with the passwords of its roles.

        Its server has the labels that the creation of the source asked for, and so has every other
        that the tenant is moved to; it need not be the source's. An empty name is that of the
        source, which may be gone. Raises TenantExists, NoServerFree.
        """
        source = await tenants.find(connection, source_tenant_id)
        asked = dict[str, str]() if source is None else source.server_labels
        labels = {name: value for name, value in asked.items() if name != SERVER_LABEL}
        wanted = labels | ({SERVER_LABEL: new.server_id} if new.server_id else {})
        server_id = await servers.choose(connection, wanted)
        if server_id is None:
            raise NoServerFree(wanted)
        database, passwords = new_tenant_database(self._servers.main.management), new_logins()
        own = passwords.pop("tenant")
        host, port = await servers.host_and_port(connection, server_id)
        tenant = await tenants.insert(
            connection,
            new.tenant_id,
            _request_id(operation),
            new.name or (new.tenant_id if source is None else source.name),
            server_id,
            database,
            credentials.encrypted_url(self._key_ring, new.tenant_id, host, port, database, own),
            labels,
            "",
        )
        if tenant is None:
            raise TenantExists(new.tenant_id)
        await credentials.insert(
            connection, self._key_ring, new.tenant_id, passwords, self._connections_per_role
        )
        return tenant

    async def find(self, connection: Connection, operation: Operation) -> Tenant | None:
        """Return the tenant that an operation makes; None if there is none of that id.

        Raises TenantExists for one that another request has made.
        """
        tenant = await tenants.find(connection, operation.tenant_id)
        if tenant is not None and tenant.request_id != _request_id(operation):
            raise TenantExists(operation.tenant_id)
        return tenant

    async def passwords(self, connection: Connection, tenant: Tenant) -> dict[str, str]:
        """Return the passwords of a tenant's runtime roles, by service."""
        found = await credentials.of_tenant(connection, self._key_ring, tenant.tenant_id)
        own = await credentials.own_password(connection, self._key_ring, tenant.tenant_id)
        return {service: known.password for service, known in found.items()} | {"tenant": own}

    async def activate(
        self,
        connection: Connection,
        tenant: Tenant,
        path_prefix: str,
        audit_head: ChainLink,
        action: str,
    ) -> Tenant:
        """Migrate a tenant's loaded database, and make the tenant active.

        `path_prefix` is what the file paths in its rows begin with; `audit_head` is where its audit
        log ends, by the signed manifest that it was loaded by. Raises MigrationFailed,
        MigrationsUnpublished, ServerUnavailable.
        """
        passwords = await self.passwords(connection, tenant)
        server_id, database = tenant.server_id, tenant.database
        async with self._provisioning.session(server_id, database, passwords) as own:
            progress = await self._provisioning.migrate(connection, server_id, database, own)
            await self._provisioning.protect(own, server_id, database)
        await schema_states.record(connection, tenant.tenant_id, progress)
        await tenants.set_path_prefix(connection, tenant.tenant_id, path_prefix)
        await self._anchors.note_head(connection, tenant.tenant_id, database.name, audit_head)
        await self._provisioning.mark(connection, server_id, database)
        return await self._activation.run(connection, tenant, action)

    async def remove(self, connection: Connection, tenant: Tenant) -> None:
        """Drop the database of a tenant that never became active, and delete its row."""
        await self._provisioning.drop(tenant.server_id, tenant.database)
        async with connection.transaction():
            await tenants.delete_unfinished(connection, tenant.tenant_id)
            await audit.append(connection, "tenant.remove", "tenant", tenant.tenant_id, {})


def _request_id(operation: Operation) -> str:
    """Return what stands for a request id: no caller's, so CreateTenant does not go on with it."""
    return f"operation/{operation.operation_id}"
