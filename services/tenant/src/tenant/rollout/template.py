"""The template database: every published table and no row; tenants' databases are copies of it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import asyncpg

from tenant.domain.databases import SERVICES, template_database
from tenant.domain.migrations import MigrationTarget, fingerprint, unpublished_services
from tenant.store import databases, published_migrations

if TYPE_CHECKING:
    from collections.abc import Collection

    from tenant.domain.migrations import Migration
    from tenant.rollout.migrator import Migrator
    from tenant.store.locks import AdvisoryLocks
    from tenant.store.server import ProvisionedServer

_FINGERPRINT_DIGITS = 12
_log = logging.getLogger(__name__)


class TemplateDatabase:
    """Makes the creation of a tenant independent of the number of migrations.

    A template never changes: another publication creates another one. It only saves time: the
    migrations that a copy lacks, all of them without a template, are applied as to any database.
    """

    def __init__(
        self,
        server: ProvisionedServer,
        migrator: Migrator,
        locks: AdvisoryLocks,
        required_services: Collection[str],
    ) -> None:
        self._server = server
        self._migrator = migrator
        self._locks = locks
        self._required_services = required_services
        self._database = template_database(server.management)

    async def refresh(self) -> None:
        """Create a template of what is published, unless it exists or a service is missing.

        Raises ServerUnavailable.
        """
        async with self._locks.holding("template") as connection:
            published = await published_migrations.list_for(connection, MigrationTarget.TENANT)
            if unpublished_services(published, self._required_services):
                return
            name = f"{self._database.name}_{fingerprint(published)[:_FINGERPRINT_DIGITS]}"
            async with self._server.provisioner(self._database.manager) as provisioner:
                known = await databases.templates(provisioner, self._database.name)
            if name not in known:
                await self._try_create(name, published)

    async def newest(self) -> str | None:
        """Return the name of the newest template, if there is one."""
        async with self._server.provisioner() as provisioner:
            known = await databases.templates(provisioner, self._database.name)
        return known[0] if known else None

    async def _try_create(self, name: str, published: list[Migration]) -> None:
        try:
            problems = await self._create(name, published)
        except asyncpg.PostgresError as error:
            problems = [str(error)]
        if problems:
            _log.warning(
                "no template database can be created",
                extra={"event": "template_database.creation_failed", "why": problems},
            )

    async def _create(self, name: str, published: list[Migration]) -> list[str]:
        """Create a template, and drop all others; return why migrations have failed."""
        database = self._database
        # Not the group: tenants' roles are members of it, and must not connect here.
        migration_roles = [*map(database.migration, SERVICES)]
        async with self._server.provisioner(database.manager) as provisioner:
            await databases.drop(provisioner, database.name)  # left by a process that died
            await databases.create(provisioner, database)
            await databases.restrict_connect(provisioner, database, "", migration_roles)
        services = list(dict.fromkeys(migration.service for migration in published))
        progress = await self._migrator.run(database, published, services)
        async with self._server.provisioner(database.manager) as provisioner:
            if progress.failures:
                await databases.drop(provisioner, database.name)
                return [str(failure) for failure in progress.failures.values()]
            await databases.convert_to_template(provisioner, database, name, migration_roles)
            for other in await databases.templates(provisioner, database.name):
                if other != name:
                    await databases.drop_template(provisioner, other)
        return []
