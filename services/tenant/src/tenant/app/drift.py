"""Comparison of tenants' databases with what their migrations make."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from dataplane.databases import WrongDatabase
from servicekit.errors import DomainError
from tenant.domain.databases import template_database
from tenant.domain.drift import (
    DifferenceKind,
    SchemaDifference,
    TenantDrift,
    differences,
    neutral_names,
    schema_objects,
)
from tenant.domain.migrations import MigrationTarget
from tenant.domain.tenants import TenantState
from tenant.errors import TenantNotFound
from tenant.operations.saga import tenant_lock
from tenant.store import published_migrations, tenants
from tenant.store import schema_objects as catalogues

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from dataplane.tenants import ManagementPool, TenantPools
    from tenant.domain.drift import SchemaObjects
    from tenant.domain.migrations import Migration
    from tenant.domain.tenants import Tenant
    from tenant.rollout.scratch import ExpectedObjects
    from tenant.store.database_servers import DatabaseServers
    from tenant.store.locks import AdvisoryLocks

_AT_ONCE = 4


class DriftCheck:
    """Finds the objects of tenants' databases that are not as their migrations make them.

    A tenant that is behind is compared with what the migrations make that it has.
    """

    def __init__(
        self,
        management: ManagementPool,
        pools: TenantPools,
        locks: AdvisoryLocks,
        servers: DatabaseServers,
        expected: ExpectedObjects,
    ) -> None:
        self._management = management
        self._pools = pools
        self._locks = locks
        self._servers = servers
        self._expected = expected

    async def tenants(self, tenant_id: str) -> list[Tenant]:
        """Return the tenant, or all when the id is empty. Raises TenantNotFound."""
        async with self._management.connection() as connection:
            if not tenant_id:
                return await tenants.list_all(connection)
            found = await tenants.find(connection, tenant_id)
        if found is None:
            raise TenantNotFound(tenant_id)
        return [found]

    async def compare(self, looked_at: Sequence[Tenant]) -> AsyncGenerator[TenantDrift]:
        """Yield each tenant when it has been compared, a few at once."""
        async with self._management.connection() as connection:
            files = await published_migrations.list_for(connection, MigrationTarget.TENANT)
        waiting, running = iter(looked_at), set[asyncio.Task[TenantDrift]]()
        try:
            while True:
                while len(running) < _AT_ONCE and (tenant := next(waiting, None)) is not None:
                    running.add(asyncio.create_task(self._compare(tenant, files)))
                if not running:
                    return
                done, running = await asyncio.wait(running, return_when="FIRST_COMPLETED")
                for task in done:
                    yield task.result()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _compare(self, tenant: Tenant, files: Sequence[Migration]) -> TenantDrift:
        tenant_id = tenant.tenant_id
        if tenant.state is not TenantState.ACTIVE:
            return TenantDrift(tenant_id, unchecked_reason=f"the tenant is {tenant.state}")
        try:
            async with self._locks.trying(tenant_lock(tenant_id)) as connection:
                if connection is None:
                    why = "another operation is changing the tenant"
                    return TenantDrift(tenant_id, unchecked_reason=why)
                found = await self._found(tenant)
            wanted = await self._wanted(tenant, files, found)
            return TenantDrift(tenant_id, differences(wanted, found))
        except WrongDatabase as error:
            other = SchemaDifference(
                "identity", "tenant_identity", DifferenceKind.ALTERED, tenant_id, str(error)
            )
            return TenantDrift(tenant_id, (other,))
        except DomainError as error:
            return TenantDrift(tenant_id, unchecked_reason=error.message)

    async def _found(self, tenant: Tenant) -> SchemaObjects:
        async with self._pools.transaction(tenant.tenant_id) as connection:
            rows = await catalogues.read(connection)
            recorded = await catalogues.migrations(connection)
            access = await catalogues.access(connection)
        management = self._servers.main.management
        neutral = neutral_names(
            tenant.database, template_database(management), f"{management.name}_audit"
        )
        migrations = [
            ("migration", f"{name} {number}", digest) for name, number, digest in recorded
        ]
        found = schema_objects([*rows, *migrations, *access], neutral)
        for kind, name in [*found]:
            # A copy's roles are members of the template's, which have the same neutral names.
            if kind == "membership" and name.split()[1] == name.split()[3]:
                del found[kind, name]
        return found

    async def _wanted(
        self, tenant: Tenant, files: Sequence[Migration], found: SchemaObjects
    ) -> SchemaObjects:
        has = [file for file in files if ("migration", f"{file.service} {file.number}") in found]
        # One that has none has lost the table that names them: then all are missing.
        return await self._expected.of(await self._servers.of(tenant.server_id), has or files)
