"""The preparation of the management database, before anything else."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from dataplane.connection_parameters import ConnectionParameters
from dataplane.databases import MANAGEMENT
from servicekit.errors import StartRefused
from servicekit.retries import Backoff, RetryLog, retry
from tenant.domain.databases import SERVICES, template_database
from tenant.domain.migrations import Migration, MigrationTarget
from tenant.domain.passwords import new_password, scram_verifier
from tenant.domain.servers import OLDEST_VERSION
from tenant.errors import (
    MigrationFailed,
    ServerUnavailable,
)
from tenant.errors.keys import KeyManagementRefused, KeyManagementUnavailable
from tenant.store import (
    credentials,
    databases,
    next_credentials,
    roles,
)
from tenant.store.locks import advisory_lock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dataplane.pools import Connection
    from tenant.app.key_source import KeySource
    from tenant.rollout.audit_protection import AuditProtection
    from tenant.rollout.migrator import Migrator
    from tenant.store.server import ProvisionedServer

BOOTSTRAP_LOCK = "bootstrap"
"""The advisory lock under which roles and passwords of the management database are set."""
MANAGEMENT_LOCK = "management"
"""The advisory lock under which the management database is migrated."""

_AWAY = (ServerUnavailable, KeyManagementUnavailable)
_BACKOFF = Backoff(0.1, 0.5)
# Of all replicas of the tenant service together, to the management database.
_OWN_CONNECTIONS = 100
_log = logging.getLogger(__name__)


class ServerTooOld(StartRefused):
    """The PostgreSQL server lacks what the service uses; the message names both versions."""


class ProvisionerUnsuitable(StartRefused):
    """The role in NAGAYA_PG_URL cannot do what the service needs; the message says what."""


class KeysRefused(StartRefused):
    """The key management service does not give the keys; the message says why."""


class Bootstrap:
    """Creates the roles and tables of the management database.

    Every replica runs it at every start, under an advisory lock; what exists is left as it is.
    """

    def __init__(
        self,
        server: ProvisionedServer,
        migrator: Migrator,
        migrations: Sequence[Migration],
        keys: KeySource,
        connections_per_role: int,
        protection: AuditProtection,
    ) -> None:
        self._keys = keys
        self._protection = protection
        self._server = server
        self._migrator = migrator
        self._migrations = [m for m in migrations if m.target is MigrationTarget.MANAGEMENT]
        self._key_ring = keys.ring
        self._connections_per_role = connections_per_role
        self._prepared = False

    async def run(self) -> None:
        """Wait for the server, then prepare the management database.

        Raises ServerTooOld, ProvisionerUnsuitable, MigrationFailed, DecryptionFailed,
        KeyRingInvalid, KeysRefused.
        """
        address = f"{self._server.host}:{self._server.port}"
        log = RetryLog(
            _log, "database_server.unavailable", "waiting for PostgreSQL", address=address
        )
        await retry(self._prepare, _AWAY, log, backoff=_BACKOFF)
        self._prepared = True

    async def connection_parameters(self, _: str) -> ConnectionParameters:
        """Return how the service itself connects to the management database.

        Raises ServerUnavailable, also before `run` has ended.
        """
        if not self._prepared:
            raise ServerUnavailable(self._server.server_id)
        place = (MANAGEMENT, self._server.server_id, self._server.management.name)
        async with self._server.provisioner() as connection:
            # In this order: so one of the two passwords is right, whatever happens in between.
            following = await next_credentials.of_place(connection, self._key_ring, *place)
            found = (await credentials.of_management(connection, self._key_ring))["tenant"]
        return ConnectionParameters(
            host=self._server.host,
            port=self._server.port,
            database=self._server.management.name,
            user=self._server.management.runtime("tenant"),
            password=found.password,
            generation=0,
            connection_limit=found.connection_limit,
            server_id=self._server.server_id,
            next_password=following.get("tenant", ""),
        )

    async def listen(self) -> Connection:
        """Open a connection of the service's own role to the management database, for LISTEN."""
        own = await self.connection_parameters("")
        password = own.next_password or own.password
        try:
            return await self._server.login(
                own.database, own.user, password, application_name="tenant watch cache"
            )
        except ServerUnavailable:
            if not own.next_password:
                raise
            return await self._server.login(
                own.database, own.user, own.password, application_name="tenant watch cache"
            )

    async def _prepare(self) -> None:
        async with self._server.provisioner() as connection:
            await self._check_provisioner(connection)
            async with advisory_lock(connection, BOOTSTRAP_LOCK):
                await self._prepare_locked(connection)

    async def _prepare_locked(self, connection: Connection) -> None:
        management = self._server.management
        await roles.create(connection, management)
        await self._create_template_roles(connection)
        await self._protection.prepare(self._server)
        await databases.take_ownership(connection, management)
        async with advisory_lock(connection, MANAGEMENT_LOCK):
            progress = await self._migrator.run(
                self._server, management, self._migrations, ["tenant"]
            )
        for failure in progress.failures.values():
            number, sqlstate = failure.migration.number, failure.sqlstate
            raise MigrationFailed("tenant", number, sqlstate, failure.message)
        await self._protection.protect(connection, self._server, management)
        try:
            await self._keys.prepare(connection)
        except KeyManagementRefused as error:
            raise KeysRefused(f"{error.message}. {error.hint}") from error
        await self._set_passwords(connection)

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

    async def _set_passwords(self, connection: Connection) -> None:
        """Insert missing passwords, and set all of them, as an earlier start may have died.

        While they are being changed the next ones are set: both are known, and these will stay.
        """
        passwords = {service: new_password() for service in SERVICES}
        limits = dict.fromkeys(SERVICES, self._connections_per_role) | {"tenant": _OWN_CONNECTIONS}
        await credentials.insert_for_management(connection, self._key_ring, passwords, limits)
        stored = await credentials.of_management(connection, self._key_ring)
        place = (MANAGEMENT, self._server.server_id, self._server.management.name)
        following = await next_credentials.of_place(connection, self._key_ring, *place)
        verifiers = {
            service: scram_verifier(following.get(service, found.password))
            for service, found in stored.items()
        }
        limits = {service: found.connection_limit for service, found in stored.items()}
        await roles.set_passwords(connection, self._server.management, verifiers, limits)
