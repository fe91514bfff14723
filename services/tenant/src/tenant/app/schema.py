"""Publication of migrations, and their rollout to every database."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from dataplane import audit
from servicekit.errors import DomainError
from tenant.app.bootstrap import MANAGEMENT_LOCK
from tenant.domain.migrations import MigrationTarget, check_numbers, unpublished
from tenant.domain.schema import MANAGEMENT, Publication
from tenant.domain.servers import MAIN
from tenant.domain.tenants import TenantState
from tenant.errors import MigrationFailed, TenantBusy
from tenant.operations.saga import tenant_lock
from tenant.store import published_migrations, schema_states, tenants
from tenant.store.locks import LockHeld

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dataplane.pools import Connection
    from dataplane.tenants import ManagementPool
    from tenant.app.rollouts import Rollouts
    from tenant.domain.databases import Database
    from tenant.domain.migrations import Migration
    from tenant.rollout.rollout import Rollout
    from tenant.rollout.template import TemplateDatabase
    from tenant.store.locks import AdvisoryLocks

_CONCURRENT_TENANTS = 3
_BUSY_SECONDS = 10.0
_log = logging.getLogger(__name__)


class Schema:
    """Publishes migrations and applies them to the management database and all active tenants."""

    def __init__(
        self,
        management: ManagementPool,
        database: Database,
        locks: AdvisoryLocks,
        rollout: Rollout,
        template: TemplateDatabase,
        rollouts: Rollouts,
        *,
        at_once: bool,
    ) -> None:
        self._management = management
        self._database = database
        self._locks = locks
        self._rollout = rollout
        self._template = template
        self._rollouts = rollouts
        self._at_once = at_once

    async def publish(self, service: str, migrations: Sequence[Migration]) -> Publication:
        """Publish a service's migrations, and apply them to the databases.

        Unless it is done at once, a rollout brings them to the tenants. The result names the active
        tenants that lack some; those whose migration failed stop no other. Raises
        MigrationChanged, MigrationInvalid, and MigrationFailed for the management database.
        """
        check_numbers(migrations)
        async with self._management.transaction() as connection:
            new = await self._insert(connection, service, migrations)
        await self._migrate_management(service)
        if self._at_once:
            await self.migrate_tenants()
        else:
            await self._rollouts.follow_publication()
        await self._template.refresh()
        async with self._management.connection() as connection:
            current, behind = await schema_states.current_and_behind(connection, service)
        return Publication(len(new), current, tuple(behind))

    async def migrate_tenants(self) -> None:
        """Migrate every active tenant that is behind, a few concurrently.

        One whose server is away, or that something else is changing, is left behind.
        """
        async with self._management.connection() as connection:
            behind = iter(await schema_states.tenants_behind(connection))
        await self._migrate_all(behind)

    async def catch_up(self) -> None:
        """Migrate what `migrate_tenants` has left behind; not where a migration has failed.

        Where rollouts bring migrations to the tenants nothing happens.
        """
        if self._at_once:
            async with self._management.connection() as connection:
                left = iter(await schema_states.tenants_left(connection))
            await self._migrate_all(left)

    async def _migrate_all(self, behind: Iterator[str]) -> None:
        async with asyncio.TaskGroup() as workers:
            for _ in range(_CONCURRENT_TENANTS):
                workers.create_task(self._migrate_each(behind))

    async def _insert(
        self, connection: Connection, service: str, migrations: Sequence[Migration]
    ) -> list[Migration]:
        await published_migrations.lock_exclusive(connection)
        known = await published_migrations.list_all(connection)
        replaceable = await schema_states.replaceable_numbers(connection, service)
        new = unpublished(known, service, migrations, replaceable)
        if new:
            await published_migrations.insert(connection, new)
            details = {"migrations": [f"{m.target} {m.number} {m.name}" for m in new]}
            await audit.append(connection, "schema.publish", "service", service, details)
        return new

    async def _migrate_management(self, service: str) -> None:
        async with self._locks.holding(MANAGEMENT_LOCK) as connection:
            progress = await self._rollout.migrate(
                connection, MANAGEMENT, MAIN, self._database, MigrationTarget.MANAGEMENT
            )
        failure = progress.failures.get(service)
        if failure is not None:
            number, sqlstate = failure.migration.number, failure.sqlstate
            raise MigrationFailed(service, number, sqlstate, failure.message)

    async def _migrate_each(self, tenant_ids: Iterator[str]) -> None:
        for tenant_id in tenant_ids:
            try:
                await self._migrate(tenant_id)
            except DomainError as error:
                _log.warning(
                    "a tenant's database could not be migrated",
                    extra={
                        "event": "tenant.migration_failed",
                        "tenant_id": tenant_id,
                        "why": error.message,
                    },
                )
            except Exception:
                _log.exception(
                    "a tenant's database could not be migrated",
                    extra={"event": "tenant.migration_failed", "tenant_id": tenant_id},
                )

    async def _migrate(self, tenant_id: str) -> None:
        try:
            async with self._locks.holding(tenant_lock(tenant_id), _BUSY_SECONDS) as connection:
                tenant = await tenants.find(connection, tenant_id)
                if tenant is not None and tenant.state is TenantState.ACTIVE:
                    await self._rollout.migrate(
                        connection,
                        tenant_id,
                        tenant.server_id,
                        tenant.database,
                        MigrationTarget.TENANT,
                    )
        except LockHeld:  # such as by a move, which takes long
            raise TenantBusy(tenant_id, "") from None
