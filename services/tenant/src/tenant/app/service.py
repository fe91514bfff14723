"""The whole service without its gRPC face: what there is, and who is given what."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from dataplane.databases import MANAGEMENT, Databases
from dataplane.tenants import ManagementPool, TenantPools
from servicekit.call import acting_as
from servicekit.identity import workload_principal
from tenant.app.connections import Connections
from tenant.app.directory import Directory
from tenant.app.schema import Schema
from tenant.app.startup import Bootstrap, Startup, own_migrations
from tenant.app.tenants import Tenants
from tenant.config import MIGRATIONS
from tenant.rollout.migrator import Migrator
from tenant.rollout.rollout import Rollout
from tenant.rollout.template import Template
from tenant.saga import Activation, Creation
from tenant.store.changes import ChangeFeed
from tenant.store.locks import Locks
from tenant.store.server import APPLICATION, Server

if TYPE_CHECKING:
    from tenant.config import Config
    from tenant.store.stores import Stores

_SERVER_ID = "main"
_MANAGEMENT_CONNECTIONS = 16
_LOCKS_AT_ONCE = 6
_READING_CONNECTIONS = 20
_READING_CONNECTIONS_PER_TENANT = 4


class Service:
    """Create it inside the running event loop; `prepare` before use, `close` in the end."""

    def __init__(self, config: Config, stores: Stores) -> None:
        limit = config.connections_per_role
        self.stores = stores
        self._own = own_migrations(MIGRATIONS)
        self._server = server = Server(_SERVER_ID, config.database)
        migrator = Migrator(server, stores)
        self._bootstrap = bootstrap = Bootstrap(server, migrator, self._own, stores, limit)
        self._to_management = Databases(bootstrap.target, APPLICATION, _MANAGEMENT_CONNECTIONS)
        self.management = management = ManagementPool(self._to_management)
        self._startup = Startup(server, management, stores)
        locks = Locks(management, _LOCKS_AT_ONCE)
        rollout = Rollout(migrator, stores)
        activation = Activation(rollout, stores)
        template = Template(server, migrator, locks, stores, config.required_services)
        creation = Creation(server, activation, template, stores, limit)
        self.schema = Schema(management, server.management, locks, rollout, template, stores)
        self.tenants = Tenants(
            management, locks, creation, activation, server, stores, config.required_services
        )
        processes = config.processes_per_service
        own = min(max(1, limit // processes), _READING_CONNECTIONS_PER_TENANT)
        self.connections = Connections(management, server, stores, own, processes)
        self._to_tenants = Databases(self.connections.own, APPLICATION, _READING_CONNECTIONS)
        self.tenant_pools = TenantPools(self._to_tenants)
        self.directory = Directory(ChangeFeed(bootstrap.listen, _SERVER_ID), stores.tenants)
        self._following: asyncio.Task[None] | None = None

    async def prepare(self) -> None:
        """Wait for PostgreSQL, make the registry ready, and begin to follow it.

        Raises what Bootstrap.run and Schema.publish raise.
        """
        await self._bootstrap.run()
        self._to_management.drop(MANAGEMENT)  # refusals of calls that came too early
        await self._startup.run()
        await self.tenants.enforce()
        self._following = asyncio.create_task(self.directory.follow())
        with acting_as(workload_principal("tenant")):
            await self.schema.publish("tenant", self._own)

    async def close(self) -> None:
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait((self._following,))
        self._to_tenants.close()
        self._to_management.close()
        self._server.close()
