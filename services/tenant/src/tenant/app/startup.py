"""What a process does before it serves: prepare the management database, and follow it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from dataplane.connection_parameters import ConnectionParameters
from dataplane.databases import MANAGEMENT
from dataplane.migrations import read_migrations
from servicekit.call import acting_as
from servicekit.errors import StartRefused
from servicekit.identity import workload_principal
from servicekit.retries import Backoff, RetryLog, retry
from tenant.domain.databases import SERVICES, template_database
from tenant.domain.migrations import Migration, MigrationTarget
from tenant.domain.passwords import new_password, scram_verifier
from tenant.domain.servers import OLDEST_VERSION
from tenant.errors import MigrationFailed, ServerUnavailable
from tenant.provisioning import CREATING, OPERATION
from tenant.store import (
    credentials,
    databases,
    installation,
    roles,
    server_facts,
    servers,
    tenants,
)
from tenant.store.locks import advisory_lock

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dataplane.databases import Databases
    from dataplane.pools import Connection
    from dataplane.tenants import ManagementPool
    from tenant.app.schema import Schema
    from tenant.app.tenants import Tenants
    from tenant.app.watch_cache import WatchCache
    from tenant.domain.encryption import KeyRing
    from tenant.rollout.audit_protection import AuditProtection
    from tenant.rollout.migrator import Migrator
    from tenant.store.credentials import Credential
    from tenant.store.database_servers import DatabaseServers
    from tenant.store.server import ProvisionedServer

_BACKOFF = Backoff(0.1, 0.5)
# Of all replicas of the tenant service together, to the management database.
_OWN_CONNECTIONS = 100
_log = logging.getLogger(__name__)


def own_migrations(folder: Path) -> list[Migration]:
    """Read the tenant service's own migrations. Raises MigrationMalformed, MigrationInvalid."""
    return [
        Migration.parse("tenant", MigrationTarget(m.target), m.number, m.name, m.requires, m.sql)
        for m in read_migrations(folder)
    ]


class ServerTooOld(StartRefused):
    """The PostgreSQL server lacks what the service uses; the message names both versions."""


class ProvisionerUnsuitable(StartRefused):
    """The role in NAGAYA_PG_URL cannot do what the service needs; the message says what."""


class Bootstrap:
    """Creates the roles and tables of the management database.

    Every replica runs it at every start, under an advisory lock; what exists is left as it is.
    """

    def __init__(
        self,
        server: ProvisionedServer,
        migrator: Migrator,
        migrations: Sequence[Migration],
        key_ring: KeyRing,
        connections_per_role: int,
        protection: AuditProtection,
    ) -> None:
        self._protection = protection
        self._server = server
        self._migrator = migrator
        self._migrations = [m for m in migrations if m.target is MigrationTarget.MANAGEMENT]
        self._key_ring = key_ring
        self._connections_per_role = connections_per_role
        self._credential: Credential | None = None

    async def run(self) -> None:
        """Wait for the server, then prepare the management database.

        Raises ServerTooOld, ProvisionerUnsuitable, MigrationFailed, DecryptionFailed.
        """
        address = f"{self._server.host}:{self._server.port}"
        log = RetryLog(
            _log, "database_server.unavailable", "waiting for PostgreSQL", address=address
        )
        self._credential = await retry(self._prepare, ServerUnavailable, log, backoff=_BACKOFF)

    async def connection_parameters(self, _: str) -> ConnectionParameters:
        """Return how the service itself connects to the management database.

        Raises ServerUnavailable before `run` has ended.
        """
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
        """Open a connection of the service's own role to the management database, for LISTEN."""
        own = await self.connection_parameters("")
        return await self._server.login(
            own.database, own.user, own.password, application_name="tenant watch cache"
        )

    async def _prepare(self) -> Credential:
        async with self._server.provisioner() as connection:
            await self._check_provisioner(connection)
            async with advisory_lock(connection, "bootstrap"):
                return await self._prepare_locked(connection)

    async def _prepare_locked(self, connection: Connection) -> Credential:
        management = self._server.management
        await roles.create(connection, management)
        await self._create_template_roles(connection)
        await self._protection.prepare(self._server)
        await databases.take_ownership(connection, management)
        progress = await self._migrator.run(self._server, management, self._migrations, ["tenant"])
        for failure in progress.failures.values():
            number, sqlstate = failure.migration.number, failure.sqlstate
            raise MigrationFailed("tenant", number, sqlstate, failure.message)
        await self._protection.protect(connection, self._server, management)
        return await self._set_passwords(connection)

    async def _create_template_roles(self, connection: Connection) -> None:
        template = template_database(self._server.management)
        await roles.ensure_manager(connection, template.manager)
        async with self._server.provisioner(template.manager) as provisioner:
            await roles.create(provisioner, template)

    async def _check_provisioner(self, connection: Connection) -> None:
        version = connection.get_server_version().major
        if version < OLDEST_VERSION:
            raise ServerTooOld(
                f"{self._server.host}:{self._server.port} is PostgreSQL {version}, "
                f"and {OLDEST_VERSION} or later is needed"
            )
        missing = await roles.missing_attributes(connection)
        if missing:
            raise ProvisionerUnsuitable(f"the role in NAGAYA_PG_URL needs {' and '.join(missing)}")
        name = self._server.management.group
        if not await roles.is_usable_group(connection, name):
            raise ProvisionerUnsuitable(f"there is a role {name}, which is kept for the group role")
        for database in await databases.connectable_by_public(connection):
            _log.warning(
                "every role may connect to a database that belongs to no tenant",
                extra={
                    "event": "database.connectable_by_public",
                    "remedy": f"REVOKE CONNECT ON DATABASE {database} FROM PUBLIC",
                },
            )

    async def _set_passwords(self, connection: Connection) -> Credential:
        """Insert missing passwords, and set all of them, as an earlier start may have died."""
        passwords = {service: new_password() for service in SERVICES}
        limits = dict.fromkeys(SERVICES, self._connections_per_role) | {"tenant": _OWN_CONNECTIONS}
        await credentials.insert_for_management(connection, self._key_ring, passwords, limits)
        stored = await credentials.of_management(connection, self._key_ring)
        verifiers = {service: scram_verifier(found.password) for service, found in stored.items()}
        limits = {service: found.connection_limit for service, found in stored.items()}
        await roles.set_passwords(connection, self._server.management, verifiers, limits)
        return stored["tenant"]


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
                cluster = await server_facts.system_identifier(provisioner)
            await servers.register_main(connection, main.server_id, main.host, main.port, cluster)
        await self._repair()
        self._watch_cache.start()
        with acting_as(workload_principal("tenant")):
            await self._schema.publish("tenant", self._migrations)

    async def _repair(self) -> None:
        """Repair what died processes left on each server; one that is away is left as it is."""
        for server_id in await self._servers.all_ids():
            server = await self._servers.of(server_id)
            try:
                await self._drop_unfinished(server)
                await self._tenants.enforce_suspensions(server)
            except ServerUnavailable as error:
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
            async with server.provisioner(database.manager) as provisioner:
                await databases.drop(provisioner, database.name)
