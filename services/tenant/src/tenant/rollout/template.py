"""Keeps a database that holds every published table and no row, to make tenants' databases from."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import asyncpg

from tenant.domain.databases import SERVICES, template_database
from tenant.domain.migrations import Target, fingerprint, unpublished_services

if TYPE_CHECKING:
    from collections.abc import Collection

    from tenant.domain.migrations import Migration
    from tenant.rollout.migrator import Migrator
    from tenant.store.locks import Locks
    from tenant.store.server import Server
    from tenant.store.stores import Stores

_FINGERPRINT_DIGITS = 12
_log = logging.getLogger(__name__)


class Template:
    """A copy costs the same however many migrations there are.

    A template never changes: another publication makes another one. It only saves time: what a
    copy lacks, or all of it when there is no template, is applied like to any other database.
    """

    def __init__(
        self,
        server: Server,
        migrator: Migrator,
        locks: Locks,
        stores: Stores,
        required_services: Collection[str],
    ) -> None:
        self._server = server
        self._migrator = migrator
        self._locks = locks
        self._stores = stores
        self._required_services = required_services
        self._database = template_database(server.management)

    async def refresh(self) -> None:
        """Make a template of what is published, unless there is one or a service is missing.

        Raises ServerUnavailable.
        """
        async with self._locks.holding("template") as connection:
            published = await self._stores.migrations.of_target(connection, Target.TENANT)
            if unpublished_services(published, self._required_services):
                return
            name = f"{self._database.name}_{fingerprint(published)[:_FINGERPRINT_DIGITS]}"
            async with self._server.provisioning(self._database.steward) as provisioner:
                known = await self._stores.databases.templates(provisioner, self._database.name)
            if name not in known:
                await self._try(name, published)

    async def newest(self) -> str | None:
        """Return the name of the newest template, if there is one."""
        async with self._server.provisioning() as provisioner:
            known = await self._stores.databases.templates(provisioner, self._database.name)
        return known[0] if known else None

    async def _try(self, name: str, published: list[Migration]) -> None:
        try:
            await self._make(name, published)
        except asyncpg.PostgresError as error:
            _log.warning("no template can be made", extra={"why": str(error)})

    async def _make(self, name: str, published: list[Migration]) -> None:
        database, databases = self._database, self._stores.databases
        # Not the group: tenants' roles are members of it, and must leave nothing in here.
        entrants = [*map(database.migration, SERVICES)]
        async with self._server.provisioning(database.steward) as provisioner:
            await databases.drop(provisioner, database.name)  # somebody has died making one
            await databases.create(provisioner, database)
            await databases.wall_off(provisioner, database, "", entrants)
        services = list(dict.fromkeys(migration.service for migration in published))
        progress = await self._migrator.run(database, published, services)
        async with self._server.provisioning(database.steward) as provisioner:
            if progress.failures:
                why = [str(failure) for failure in progress.failures.values()]
                _log.warning("no template can be made", extra={"why": why})
                await databases.drop(provisioner, database.name)
                return
            await databases.become_template(provisioner, database, name, entrants)
            for other in await databases.templates(provisioner, database.name):
                if other != name:
                    await databases.drop_template(provisioner, other)
