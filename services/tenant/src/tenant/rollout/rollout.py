"""Applies to a database what is published and not applied yet."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from tenant.domain.migrations import applicable_services
from tenant.domain.schema import MigrationProgress
from tenant.rollout.migrator import LOCK_SECONDS
from tenant.store import published_migrations, schema_states

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dataplane.pools import Connection
    from tenant.domain.databases import Database
    from tenant.domain.migrations import Migration, MigrationTarget
    from tenant.rollout.migrator import Migrator
    from tenant.store.database_servers import DatabaseServers

_log = logging.getLogger(__name__)


class Rollout:
    """Migrates one database at a time, and records in `schema_states` how far it came."""

    def __init__(self, servers: DatabaseServers, migrator: Migrator) -> None:
        self._servers = servers
        self._migrator = migrator

    async def migrate(
        self,
        connection: Connection,
        tenant_id: str,
        server_id: str,
        database: Database,
        target: MigrationTarget,
    ) -> MigrationProgress:
        """Apply the published migrations that one database lacks; record and return the outcome.

        `connection` is to the management database and holds the lock of `database`. An empty
        `tenant_id` stands for the management database. Raises ServerNotFound, ServerUnavailable.
        """
        published = await published_migrations.list_for(connection, target)
        return await self.apply(connection, tenant_id, server_id, database, published)

    async def apply(
        self,
        connection: Connection,
        tenant_id: str,
        server_id: str,
        database: Database,
        published: Sequence[Migration],
        lock_seconds: float = LOCK_SECONDS,
    ) -> MigrationProgress:
        """Do as `migrate`, with these migrations; each waits `lock_seconds` for its locks."""
        applied = await schema_states.applied_numbers(connection, tenant_id)
        services = applicable_services(published, applied)
        if not services:
            return MigrationProgress()
        server = await self._servers.of(server_id)
        progress = await self._migrator.run(server, database, published, services, lock_seconds)
        await schema_states.record(connection, tenant_id, progress)
        for failure in progress.failures.values():
            _log.error(
                "a migration failed",
                extra={
                    "event": "migration.failed",
                    "tenant_id": tenant_id,
                    "migration": f"{failure.migration.service} {failure.migration.number}",
                    "sqlstate": failure.sqlstate,
                },
            )
        return progress
