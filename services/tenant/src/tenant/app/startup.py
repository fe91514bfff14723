"""What a process does before it serves: prepare the management database, and follow it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from dataplane.databases import MANAGEMENT
from dataplane.migrations import read_migrations
from servicekit.call import acting_as
from servicekit.identity import workload_principal
from tenant.domain.databases import CREATING, OPERATION
from tenant.domain.migrations import Migration, MigrationTarget
from tenant.domain.servers import ServerFacts
from tenant.errors import ServerNotFound, ServerUnavailable
from tenant.errors.deletion import DatabaseInUse
from tenant.errors.moves import ServerLost
from tenant.store import (
    database_drops,
    databases,
    installation,
    server_facts,
    servers,
    tenants,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dataplane.databases import Databases
    from dataplane.tenants import ManagementPool
    from tenant.app.bootstrap import Bootstrap
    from tenant.app.schema import Schema
    from tenant.app.tenants import Tenants
    from tenant.app.watch_cache import WatchCache
    from tenant.store.database_servers import DatabaseServers
    from tenant.store.server import ProvisionedServer

_log = logging.getLogger(__name__)


def own_migrations(folder: Path) -> list[Migration]:
    """Read the tenant service's own migrations. Raises MigrationMalformed, MigrationInvalid."""
    return [
        Migration.parse("tenant", MigrationTarget(m.target), m.number, m.name, m.requires, m.sql)
        for m in read_migrations(folder)
    ]


class Startup:
    """The steps from the start of the process until it is ready."""

    def __init__(
        self,
        bootstrap: Bootstrap,
        servers: DatabaseServers,
        databases: Databases,
        management: ManagementPool,
        tenants: Tenants,
        watch_cache: WatchCache,
        schema: Schema,
        migrations: Sequence[Migration],
    ) -> None:
        self._bootstrap = bootstrap
        self._servers = servers
        self._databases = databases
        self._management = management
        self._tenants = tenants
        self._watch_cache = watch_cache
        self._schema = schema
        self._migrations = migrations

    async def run(self) -> None:
        """Wait for PostgreSQL, repair what died processes left, and publish own migrations.

        Raises what Bootstrap.run and Schema.publish raise.
        """
        await self._bootstrap.run()
        self._databases.drop(MANAGEMENT)  # cached refusals of calls that came too early
        main = self._servers.main
        async with self._management.connection() as connection:
            async with main.provisioner() as provisioner:
                found = ServerFacts(
                    await server_facts.version(provisioner),
                    await server_facts.system_identifier(provisioner),
                )
            await servers.register_main(connection, main.server_id, main.host, main.port, found)
        await self._repair()
        self._watch_cache.start()
        with acting_as(workload_principal("tenant")):
            await self._schema.publish("tenant", self._migrations)

    async def _repair(self) -> None:
        """Repair what died processes left on each server; one that is away is left as it is."""
        for server_id in await self._servers.all_ids():
            try:
                server = await self._servers.of(server_id)
                await self._drop_unfinished(server)
                await self._tenants.enforce_suspensions(server)
            except (ServerUnavailable, ServerNotFound, ServerLost) as error:
                if server_id == self._servers.main.server_id:
                    raise
                _log.warning(
                    "a database server is away, and was not repaired",
                    extra={
                        "event": "database_server.not_repaired",
                        "server_id": server_id,
                        "why": error.message,
                    },
                )

    async def _drop_unfinished(self, server: ProvisionedServer) -> None:
        """Drop databases whose creation never ended and that no tenant has; report others."""
        async with self._management.connection() as connection:
            marker = await installation.marker(connection)
            async with server.provisioner() as provisioner:
                # In this order: a tenant's row is older than its database.
                marked = await databases.find_marked(provisioner, marker)
                registered = await tenants.database_names(connection, server.server_id)
        for database, state in marked.items():
            if database.name in registered or state.startswith(OPERATION):
                continue
            where = {"server_id": server.server_id, "database": database.name}
            if state != CREATING:
                _log.error(
                    "a database belongs to no tenant",
                    extra={"event": "database.unregistered", **where},
                )
                continue
            _log.warning(
                "dropping a database whose creation was not finished",
                extra={"event": "database.unfinished_dropped", **where},
            )
            try:
                async with server.provisioner(database.manager) as provisioner:
                    await database_drops.drop(provisioner, database)
            except DatabaseInUse as error:
                _log.warning(
                    "a database whose creation was not finished is left",
                    extra={"event": "database.unfinished_left", "why": error.message, **where},
                )
