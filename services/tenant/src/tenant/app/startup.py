"""From a server of databases to a working registry, at every start."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from dataplane.migrations import read_migrations
from dataplane.pools import ConnectionParameters
from servicekit.errors import StartRefused
from tenant.domain.databases import SERVICES, template_database
from tenant.domain.migrations import Migration
from tenant.domain.migrations import Target as MigrationTarget
from tenant.domain.passwords import new_password, scram_verifier
from tenant.errors import MigrationFailed, ServerUnavailable
from tenant.store.locks import advisory_lock

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dataplane.pools import Connection
    from dataplane.tenants import ManagementPool
    from tenant.rollout.migrator import Migrator
    from tenant.store.credentials import Credential
    from tenant.store.server import Server
    from tenant.store.stores import Stores

_RETRY_SECONDS = 1.0
# Of all replicas of the tenant service together, to the management database.
_OWN_CONNECTIONS = 100
_log = logging.getLogger(__name__)


def own_migrations(folder: Path) -> list[Migration]:
    """Read the tenant service's own migrations. Raises MigrationMalformed, MigrationInvalid."""
    return [
        Migration.parse("tenant", MigrationTarget(m.target), m.number, m.name, m.requires, m.sql)
        for m in read_migrations(folder)
    ]


class ProvisionerUnfit(StartRefused):
    """The role in NAGAYA_PG_URL cannot do what the service needs; the message says what."""


class Bootstrap:
    """Makes the management database what the service works with.

    Every replica does it at every start, one at a time; what is there is left alone.
    """

    def __init__(
        self,
        server: Server,
        migrator: Migrator,
        own: Sequence[Migration],
        stores: Stores,
        connections_per_role: int,
    ) -> None:
        self._server = server
        self._migrator = migrator
        self._own = [m for m in own if m.target is MigrationTarget.MANAGEMENT]
        self._stores = stores
        self._limit = connections_per_role
        self._credential: Credential | None = None

    async def run(self) -> None:
        """Wait for the server, then prepare it.

        Raises ProvisionerUnfit, MigrationFailed, SealBroken.
        """
        while self._credential is None:
            try:
                async with self._server.provisioning() as connection:
                    self._credential = await self._prepare(connection)
            except ServerUnavailable:
                where = f"{self._server.host}:{self._server.port}"
                _log.warning("waiting for PostgreSQL", extra={"address": where})
                await asyncio.sleep(_RETRY_SECONDS)

    async def target(self, _: str) -> ConnectionParameters:
        """Return how the service itself logs in to the management database, when it is prepared."""
        credential = self._credential
        if credential is None:
            raise ServerUnavailable(self._server.server_id)
        return ConnectionParameters(
            host=self._server.host,
            port=self._server.port,
            database=self._server.management.name,
            user=self._server.management.runtime("tenant"),
            password=credential.password,
            generation=0,
            connection_limit=credential.connection_limit,
            server_id=self._server.server_id,
        )

    async def listen(self) -> Connection:
        """Open a session of the service's own role on the management database, to listen."""
        target = await self.target("")
        return await self._server.login(
            target.database, target.user, target.password, application_name="tenant directory"
        )

    async def _prepare(self, connection: Connection) -> Credential:
        management = self._server.management
        await self._check(connection)
        async with advisory_lock(connection, "bootstrap"):
            await self._stores.roles.create(connection, management)
            await self._prepare_template(connection)
            await self._stores.databases.adopt(connection, management)
            progress = await self._migrator.run(management, self._own, ["tenant"])
            for failure in progress.failures.values():
                number, sqlstate = failure.migration.number, failure.sqlstate
                raise MigrationFailed("tenant", number, sqlstate, failure.message)
            return await self._set_passwords(connection)

    async def _prepare_template(self, connection: Connection) -> None:
        template = template_database(self._server.management)
        await self._stores.roles.ensure_steward(connection, template.steward)
        async with self._server.provisioning(template.steward) as steward:
            await self._stores.roles.create(steward, template)

    async def _check(self, connection: Connection) -> None:
        lacking = await self._stores.roles.lacking(connection)
        if lacking:
            raise ProvisionerUnfit(f"the role in NAGAYA_PG_URL needs {' and '.join(lacking)}")
        name = self._server.management.group
        if not await self._stores.roles.is_group(connection, name):
            raise ProvisionerUnfit(f"there is a role {name}, which is kept for the group role")
        for database in await self._stores.databases.open_to_all(connection):
            _log.warning(
                "every role may enter a database that belongs to no tenant",
                extra={"remedy": f"REVOKE CONNECT ON DATABASE {database} FROM PUBLIC"},
            )

    async def _set_passwords(self, connection: Connection) -> Credential:
        """Keep passwords for what has none, and tell the server: it may have missed that."""
        store, passwords = self._stores.credentials, {s: new_password() for s in SERVICES}
        limits = dict.fromkeys(SERVICES, self._limit) | {"tenant": _OWN_CONNECTIONS}
        await store.insert_management(connection, passwords, limits)
        credentials = await store.of_management(connection)
        verifiers = {s: scram_verifier(found.password) for s, found in credentials.items()}
        limits = {s: found.connection_limit for s, found in credentials.items()}
        await self._stores.roles.set_passwords(
            connection, self._server.management, verifiers, limits
        )
        return credentials["tenant"]


class Startup:
    """What a process does before it serves, once the management database is prepared."""

    def __init__(self, server: Server, management: ManagementPool, stores: Stores) -> None:
        self._server = server
        self._management = management
        self._stores = stores

    async def run(self) -> None:
        """Note where the server is, and clear away what processes that died have left."""
        async with self._management.connection() as connection:
            server = self._server
            await self._stores.installation.register_server(
                connection, server.server_id, server.host, server.port
            )
            await self._reap(connection)

    async def _reap(self, connection: Connection) -> None:
        """Drop databases that were never finished and belong to nobody; tell of others."""
        marker = await self._stores.installation.marker(connection)
        async with self._server.provisioning() as provisioner:
            # In this order: a tenant's row is older than its database.
            marked = await self._stores.databases.marked(provisioner, marker)
            registered = await self._stores.tenants.databases(connection)
        for database, rest in marked.items():
            if database.name in registered:
                continue
            if rest != "creating":
                _log.error("a database belongs to no tenant", extra={"database": database.name})
                continue
            _log.warning("dropping a database half made", extra={"database": database.name})
            async with self._server.provisioning(database.steward) as provisioner:
                await self._stores.databases.drop(provisioner, database.name)
