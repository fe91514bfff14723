"""What the services publish, and how it reaches every database."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from dataplane import audit
from servicekit.errors import DomainError
from tenant.app.tenants import lock_name
from tenant.domain.migrations import Target, check_numbers, unpublished
from tenant.domain.schema import MANAGEMENT, Publication
from tenant.domain.tenants import TenantState
from tenant.errors import MigrationFailed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dataplane.pools import Connection
    from dataplane.tenants import ManagementPool
    from tenant.domain.databases import Database
    from tenant.domain.migrations import Migration
    from tenant.rollout.rollout import Rollout
    from tenant.rollout.template import Template
    from tenant.store.locks import Locks
    from tenant.store.stores import Stores

_TENANTS_AT_ONCE = 3
_MANAGEMENT_LOCK = "management"
_log = logging.getLogger(__name__)


class Schema:
    def __init__(
        self,
        management: ManagementPool,
        database: Database,
        locks: Locks,
        rollout: Rollout,
        template: Template,
        stores: Stores,
    ) -> None:
        self._management = management
        self._database = database
        self._locks = locks
        self._rollout = rollout
        self._template = template
        self._stores = stores

    async def publish(self, service: str, migrations: Sequence[Migration]) -> Publication:
        """Publish a service's migrations, and bring the databases along.

        A tenant that cannot be brought along is named, and stops no other. Raises MigrationChanged
        and MigrationInvalid, and MigrationFailed for the management database.
        """
        check_numbers(migrations)
        async with self._management.transaction() as connection:
            new = await self._insert(connection, service, migrations)
        await self._bring_management(service)
        await self.bring_tenants()
        await self._template.refresh()
        async with self._management.connection() as connection:
            current, behind = await self._stores.schema_states.standing(connection, service)
        return Publication(len(new), current, tuple(behind))

    async def bring_tenants(self) -> None:
        """Bring along every active tenant that is behind, a few at a time."""
        async with self._management.connection() as connection:
            behind = iter(await self._stores.schema_states.behind(connection))
        async with asyncio.TaskGroup() as workers:
            for _ in range(_TENANTS_AT_ONCE):
                workers.create_task(self._bring_each(behind))

    async def _insert(
        self, connection: Connection, service: str, migrations: Sequence[Migration]
    ) -> list[Migration]:
        await self._stores.migrations.lock(connection)
        known = await self._stores.migrations.every(connection)
        replaceable = await self._stores.schema_states.replaceable(connection, service)
        new = unpublished(known, service, migrations, replaceable)
        if new:
            await self._stores.migrations.insert(connection, new)
            details = {"migrations": [f"{m.target} {m.number} {m.name}" for m in new]}
            await audit.append(connection, "schema.publish", "service", service, details)
        return new

    async def _bring_management(self, service: str) -> None:
        async with self._locks.holding(_MANAGEMENT_LOCK) as connection:
            progress = await self._rollout.bring(
                connection, MANAGEMENT, self._database, Target.MANAGEMENT
            )
        failure = progress.failures.get(service)
        if failure is not None:
            number, sqlstate = failure.migration.number, failure.sqlstate
            raise MigrationFailed(service, number, sqlstate, failure.message)

    async def _bring_each(self, tenant_ids: Iterator[str]) -> None:
        for tenant_id in tenant_ids:
            try:
                await self._bring(tenant_id)
            except DomainError as error:
                extra = {"tenant_id": tenant_id, "why": error.message}
                _log.warning("a tenant could not be brought along", extra=extra)

    async def _bring(self, tenant_id: str) -> None:
        async with self._locks.holding(lock_name(tenant_id)) as connection:
            tenant = await self._stores.tenants.find(connection, tenant_id)
            if tenant is not None and tenant.state is TenantState.ACTIVE:
                await self._rollout.bring(connection, tenant_id, tenant.database, Target.TENANT)
