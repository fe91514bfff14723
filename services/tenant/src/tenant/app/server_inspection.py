"""Looks at a database server before tenants are placed on it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tenant.domain.databases import new_probe_database, template_database
from tenant.domain.passwords import new_password, scram_verifier
from tenant.domain.servers import OLDEST_VERSION, ServerCheck, ServerFacts
from tenant.errors import ServerUnsuitable
from tenant.store import database_drops, databases, roles, server_facts, strays

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from dataplane.pools import Connection
    from tenant.domain.databases import Database
    from tenant.store.server import ProvisionedServer

LOCK = "servers"
"""The advisory lock of whoever changes the list of servers, or looks at one."""
_SAMEROLE = "a line `host samerole all all scram-sha-256` in pg_hba.conf, none before it for all"
_HBA_REJECTION = "28000"
_HBA = ServerCheck(
    "pg_hba.conf",
    "only the privilege CONNECT keeps roles out of each other's databases",
    _SAMEROLE,
)
_SUPERUSER = ServerCheck(
    "no superuser",
    "who gets hold of the provisioner's password can do anything on the server",
    "a role of its own with CREATEDB and CREATEROLE",
)
_PUBLIC = "CONNECT on postgres and template1"
_PUBLIC_CONSEQUENCE = "tenants' roles may connect to databases that belong to no tenant"
_MOVED_AWAY = "a tenant that is moved away from here cannot be written to while it is copied"
_MOVED_HERE = "a tenant that is moved to here cannot be written to while it is copied"
_WAL = "a deletion cannot show that the WAL holds nothing of the tenant any more"
# The column of `server_facts.read`, then what is said when it is false.
_OPTIONAL = (
    ("rolreplication", "REPLICATION", _MOVED_AWAY, "ALTER ROLE <provisioner> REPLICATION"),
    (
        "logical_wal",
        "wal_level = logical",
        _MOVED_AWAY,
        "wal_level = logical in postgresql.conf, and a restart",
    ),
    (
        "may_subscribe",
        "pg_create_subscription",
        _MOVED_HERE,
        "GRANT pg_create_subscription TO <provisioner>",
    ),
    ("may_checkpoint", "pg_checkpoint", _WAL, "GRANT pg_checkpoint TO <provisioner>"),
    (
        "may_switch_wal",
        "pg_switch_wal",
        _WAL,
        "GRANT EXECUTE ON FUNCTION pg_switch_wal() TO <provisioner>",
    ),
    (
        "encrypted",
        "TLS",
        "what is sent between the services and the server can be read on the way",
        "ssl = on in postgresql.conf, and PGSSLMODE=require or stricter for every service",
    ),
)


async def inspect(server: ProvisionedServer) -> ServerFacts:
    """Look at what a server has, and make, enter and drop a database as a tenant has one.

    Whatever was made is gone afterwards, also what a process that died here has made before. The
    caller holds LOCK. Raises ServerUnsuitable, ServerUnavailable.
    """
    async with server.provisioner() as provisioner:
        await _check_needed(server, provisioner)
        left = await strays.probes(provisioner, server.management)
        found = await server_facts.read(provisioner)
        cluster = await server_facts.system_identifier(provisioner)
        public = await databases.connectable_by_public(provisioner)
    checks = [ServerCheck("CREATEDB"), ServerCheck("CREATEROLE")]
    try:
        for database in left:
            await remove_probe(server, database)
        checks.append(await _probe(server))
    except server_facts.StatementRefused as error:
        raise ServerUnsuitable(
            server.server_id, "a tenant's database", f"making one failed: {error}"
        ) from error
    public_remedy = f"REVOKE CONNECT ON DATABASE {', '.join(public)} FROM PUBLIC"
    wanted = (
        *((found[column], ServerCheck(*texts)) for column, *texts in _OPTIONAL),
        (not found["rolsuper"], _SUPERUSER),
        (not public, ServerCheck(_PUBLIC, _PUBLIC_CONSEQUENCE, public_remedy)),
    )
    checks += [ServerCheck(absent.name) if there else absent for there, absent in wanted]
    return ServerFacts(found["version"], cluster, tuple(checks))


async def _check_needed(server: ProvisionedServer, provisioner: Connection) -> None:
    version = provisioner.get_server_version().major
    if version < OLDEST_VERSION:
        raise ServerUnsuitable(
            server.server_id,
            "version",
            f"it is PostgreSQL {version}, and {OLDEST_VERSION} or later is needed",
        )
    missing = await roles.missing_attributes(provisioner)
    if missing:
        raise ServerUnsuitable(
            server.server_id, missing[0], f"its provisioner needs {' and '.join(missing)}"
        )
    manager = template_database(server.management).manager
    if not await roles.is_usable_group(provisioner, manager):
        raise ServerUnsuitable(
            server.server_id,
            "names",
            f"there is a role {manager} of somebody else: two installations whose management "
            "databases have one name cannot share a server",
        )


async def _probe(server: ProvisionedServer) -> ServerCheck:
    """Return whether pg_hba.conf keeps a role out of a database that is not its own."""
    database = new_probe_database(server.management)
    name = database.name
    member, stranger = database.runtime("tenant"), database.runtime("runs")
    password = new_password()
    async with _made(server, database, password):
        refused = await server.try_login(name, member, password)
        if refused:
            raise ServerUnsuitable(
                server.server_id,
                "pg_hba.conf",
                f"a tenant's role cannot enter its own database ({refused}); it needs {_SAMEROLE}",
            )
        async with server.provisioner(database.manager) as provisioner:
            await roles.leave_group(provisioner, database, stranger)
        refused = await server.try_login(name, stranger, password)
    if not refused:
        raise ServerUnsuitable(
            server.server_id, "CONNECT", "a role entered a database that is not its own"
        )
    return ServerCheck(_HBA.name) if refused == _HBA_REJECTION else _HBA


@asynccontextmanager
async def _made(
    server: ProvisionedServer, database: Database, password: str
) -> AsyncGenerator[None]:
    """Have a database, with its roles, for the block."""
    async with server.provisioner() as provisioner:
        await roles.ensure_manager(provisioner, database.manager)
    try:
        async with server.provisioner(database.manager) as provisioner:
            await roles.create(provisioner, database)
            await databases.create(provisioner, database, "template0")
            verifiers = {service: scram_verifier(password) for service in ("tenant", "runs")}
            limits = dict.fromkeys(verifiers, 1)
            await roles.set_passwords(provisioner, database, verifiers, limits)
            await databases.restrict_connect(provisioner, database, "", [database.group])
        yield
    finally:
        await remove_probe(server, database)


async def remove_probe(server: ProvisionedServer, database: Database) -> None:
    """Drop a database that was made to look at a server, and its roles, as far as they exist."""
    async with server.provisioner() as provisioner:
        if not await roles.exists(provisioner, database.manager):
            return
    async with server.provisioner(database.manager) as provisioner:
        await database_drops.drop(provisioner, database)
        await roles.drop(provisioner, database)
    async with server.provisioner() as provisioner:
        await roles.drop_manager(provisioner, database.manager)
