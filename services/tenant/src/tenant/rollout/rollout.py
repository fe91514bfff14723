"""Brings databases along with what the services have published."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from tenant.domain.migrations import applicable_services
from tenant.domain.schema import Progress

if TYPE_CHECKING:
    from dataplane.pools import Connection
    from tenant.domain.databases import Database
    from tenant.domain.migrations import Target
    from tenant.rollout.migrator import Migrator
    from tenant.store.stores import Stores

_log = logging.getLogger(__name__)


class Rollout:
    def __init__(self, migrator: Migrator, stores: Stores) -> None:
        self._migrator = migrator
        self._stores = stores

    async def bring(
        self, connection: Connection, tenant_id: str, database: Database, target: Target
    ) -> Progress:
        """Apply to one database what is published and not applied yet, and note how far it came.

        `connection` leads to the management database and holds the lock of this database. An
        empty `tenant_id` stands for the management database. Raises ServerUnavailable.
        """
        published = await self._stores.migrations.of_target(connection, target)
        applied = await self._stores.schema_states.applied(connection, tenant_id)
        services = applicable_services(published, applied)
        if not services:
            return Progress()
        progress = await self._migrator.run(database, published, services)
        await self._stores.schema_states.record(connection, tenant_id, progress)
        for failure in progress.failures.values():
            _log.error(
                "a migration failed",
                extra={
                    "tenant_id": tenant_id,
                    "migration": f"{failure.migration.service} {failure.migration.number}",
                    "sqlstate": failure.sqlstate,
                },
            )
        return progress
