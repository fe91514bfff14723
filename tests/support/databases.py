"""Databases as the tenant service makes them, for tests that need no tenant service."""

from __future__ import annotations

import asyncio
import json
import secrets
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg

from dataplane.connection_parameters import ConnectionParameters
from dataplane.databases import MANAGEMENT, Databases
from dataplane.directory import TenantDirectory
from dataplane.migrations import read_migrations
from dataplane.tenants import DataPlane, ManagementPool, TenantPools
from nagaya.tenant.v1 import tenant_pb2
from servicekit.channel import open_channel
from servicekit.errors import PermissionDenied

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nagaya_local.parts.postgres import PostgresServer

PASSWORD = "tests-only"
_SERVICES_FOLDER = Path(__file__).parents[2] / "services"
_SERVICES = ("tenant", "runs", "artifacts", "llm_gateway")


@dataclass(frozen=True, slots=True)
class TenantDatabases:
    """Tenants' databases and a management database with the tables that a service needs.

    Plain data, so that another process can be told where they are.
    """

    superuser: str
    """The superuser's address of the database `postgres`."""
    service: str
    """Who logs in."""
    names: dict[str, str]
    """By tenant."""
    connection_limit: int

    @classmethod
    async def create(
        cls, server: PostgresServer, service: str, *tenant_ids: str, connection_limit: int = 30
    ) -> TenantDatabases:
        """Create a management database and one for each tenant."""
        made = cls(server.superuser_url(), service, {}, connection_limit)
        await asyncio.gather(
            made._create(MANAGEMENT, f"m_{secrets.token_hex(4)}", "management"),
            *map(made.add_tenant, tenant_ids),
        )
        return made

    @classmethod
    def parse(cls, text: str) -> TenantDatabases:
        return cls(**json.loads(text))

    def encode(self) -> str:
        return json.dumps(asdict(self))

    async def add_tenant(self, tenant_id: str) -> None:
        """Create one more tenant's database."""
        await self._create(tenant_id, f"t_{tenant_id}_{secrets.token_hex(4)}", "tenant")
        connection = await asyncpg.connect(self.superuser_url(tenant_id))
        await connection.execute("INSERT INTO tenant_identity (tenant_id) VALUES ($1)", tenant_id)
        await connection.close()

    async def keep_as_templates(self) -> None:
        """Set the databases aside; `restored` makes them again as they are now."""
        connection = await asyncpg.connect(self.superuser)
        for name in self.names.values():
            await connection.execute(f"ALTER DATABASE {name} RENAME TO {name}_template")
        await connection.close()

    async def restored(self) -> TenantDatabases:
        """Make the databases from their templates: faster than by migrations."""
        await asyncio.gather(*map(self._restore, self.names.values()))
        return replace(self, names=dict(self.names))

    async def drop(self) -> None:
        """Drop all of them."""
        connection = await asyncpg.connect(self.superuser)
        for name in self.names.values():
            await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await connection.close()

    def superuser_url(self, tenant_id: str) -> str:
        """Return the superuser's address of a tenant's database."""
        return self.superuser.rpartition("/")[0] + "/" + self.names[tenant_id]

    async def resolve(self, tenant_id: str) -> ConnectionParameters:
        """Return how the service logs in, as the tenant service would."""
        if tenant_id not in self.names:
            raise PermissionDenied
        port = urlsplit(self.superuser).port or 0
        name = self.names[tenant_id]
        user = f"{name}_{self.service}"
        return ConnectionParameters(
            "127.0.0.1", port, name, user, PASSWORD, 1, self.connection_limit, "local"
        )

    def data_plane(self, budget: int) -> DataPlane:
        """Return what the service would be told of these databases; all tenants are active."""
        directory = TenantDirectory(open_channel("127.0.0.1:1", None))
        for tenant_id in self.names.keys() - {MANAGEMENT}:
            state = tenant_pb2.TENANT_STATE_ACTIVE
            directory._put(tenant_pb2.Tenant(tenant_id=tenant_id, state=state, generation=1))
        directory._synced.set()
        databases = Databases(self.resolve, self.service, budget, None)
        return DataPlane(TenantPools(databases), ManagementPool(databases), directory)

    async def create_run(self, tenant_id: str) -> str:
        """Insert a run that is held, which files can belong to; return its id."""
        run_id = str(uuid4())
        connection = await asyncpg.connect(self.superuser_url(tenant_id))
        await connection.execute(
            """
            INSERT INTO runs (id, status, held, pipeline, pipeline_version, user_id, request_id,
                              request_digest)
            VALUES ($1::uuid, 'pending', true, 'article', 1, 'ada', $2, '')
            """,
            run_id,
            run_id,
        )
        await connection.close()
        return run_id

    async def refuse_connections(self, tenant_id: str) -> None:
        """Close a database to everybody, as if its server were away."""
        name = self.names[tenant_id]
        connection = await asyncpg.connect(self.superuser)
        await connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        # The oldest last: it may be a test's own, that holds up the others.
        await connection.execute(
            """
            SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1
             ORDER BY backend_start DESC
            """,
            name,
        )
        await connection.close()

    async def allow_connections(self, tenant_id: str) -> None:
        """Open a database again."""
        connection = await asyncpg.connect(self.superuser)
        await connection.execute(f"ALTER DATABASE {self.names[tenant_id]} ALLOW_CONNECTIONS true")
        await connection.close()

    async def _restore(self, name: str) -> None:
        connection = await asyncpg.connect(self.superuser)
        await connection.execute(
            f"CREATE DATABASE {name} TEMPLATE {name}_template STRATEGY FILE_COPY"
        )
        await _grant_connect(connection, name)
        await connection.close()

    async def _create(self, tenant_id: str, name: str, target: str) -> None:
        owners = tuple(dict.fromkeys(("tenant", "runs", self.service)))
        await _create_database(self.superuser, name, target, owners)
        self.names[tenant_id] = name


async def _create_database(superuser: str, name: str, target: str, owners: Sequence[str]) -> None:
    """Create a database with the roles of all services, and the tables of `owners` for `target`."""
    connection = await asyncpg.connect(superuser)
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.execute(f"CREATE ROLE {name}")
    for service in _SERVICES:
        await connection.execute(
            f"CREATE ROLE {name}_{service} LOGIN IN ROLE {name} PASSWORD '{PASSWORD}'"
        )
        await connection.execute(f"CREATE ROLE {name}_{service}_mig IN ROLE {name}")
    await _grant_connect(connection, name)
    await connection.close()
    connection = await asyncpg.connect(superuser.rpartition("/")[0] + "/" + name)
    for service in owners:
        await _migrate(connection, name, service, target)
    await connection.close()


async def _grant_connect(connection: asyncpg.Connection[asyncpg.Record], name: str) -> None:
    await connection.execute(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC")
    await connection.execute(f"GRANT CONNECT ON DATABASE {name} TO {name}")


async def _migrate(
    connection: asyncpg.Connection[asyncpg.Record], name: str, service: str, target: str
) -> None:
    """Apply a service's files as its migration role; tenant's as who makes databases."""
    if service != "tenant":
        await connection.execute(f"SET SESSION AUTHORIZATION {name}_{service}_mig")
        for privileges in ("SELECT, INSERT, UPDATE, DELETE ON TABLES", "USAGE ON SEQUENCES"):
            await connection.execute(
                f"ALTER DEFAULT PRIVILEGES GRANT {privileges} TO {name}_{service}"
            )
    for migration in read_migrations(_SERVICES_FOLDER / service / "migrations"):
        if migration.target == target:
            # Statements that are sent together are one transaction, which some refuse.
            alone = "\n-- transaction: none\n" in migration.sql
            for sql in _statements(migration.sql) if alone else [migration.sql]:
                await connection.execute(sql)
    await connection.execute("RESET SESSION AUTHORIZATION")


def _statements(sql: str) -> list[str]:
    """Return the statements of a file that holds nothing but statements of indexes."""
    return [part for part in sql.split(";\n") if part.strip()]
