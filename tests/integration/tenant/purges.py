"""Purges of a service whose peers are in the memory of the test."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

from tests.integration.tenant.harness import (
    started,
)
from tests.support.waiting import wait_until

from signing import PublicKeys
from tenant.domain.deletion import CERTIFICATE
from tenant.store import deletion_certificates
from tenant.store import operations as table

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import asyncpg

    from servicekit.testing import Keys
    from tenant.composition import Composition
    from tenant.config import Config
    from tenant.domain.databases import Database
    from tenant.domain.operations import Operation


@asynccontextmanager
async def running(config: Config) -> AsyncGenerator[Composition]:
    async with started(config) as service:
        service.runner.start()
        yield service


async def ended(service: Composition, operation: Operation) -> Operation:
    async def over() -> Operation | None:
        async with service.management.connection() as connection:
            found = await table.find(connection, operation.operation_id)
        return found if found is not None and found.ended else None

    return await wait_until(over, seconds=150)


async def purged(service: Composition, tenant_id: str = "acme", request: str = "p1") -> Operation:
    return await ended(service, await service.deletion.deletion.purge(tenant_id, request))


async def certificate(service: Composition, keys: Keys, tenant_id: str = "acme") -> dict[str, Any]:
    async with service.management.connection() as connection:
        signed = await deletion_certificates.newest(connection, tenant_id)
    assert signed is not None
    public = PublicKeys.from_jwks(keys.jwks_file.read_bytes())
    return cast("dict[str, Any]", public.verify(signed, CERTIFICATE, "workload-tenant"))


async def left_on_server(management: asyncpg.Connection, database: Database) -> list[str]:
    rows = await management.fetch(
        """
        SELECT datname AS name FROM pg_database WHERE datname = $1
         UNION ALL SELECT rolname FROM pg_roles WHERE starts_with(rolname, $1)
        """,
        database.name,
    )
    return [row["name"] for row in rows]


async def rows_about(management: asyncpg.Connection, tenant_id: str) -> dict[str, int]:
    tables = {"tenants": "id"} | dict.fromkeys(
        ("tenant_credentials", "schema_states", "sagas", "operations", "next_credentials"),
        "tenant_id",
    )
    return {
        name: count
        for name, column in tables.items()
        if (
            count := await management.fetchval(
                f"SELECT count(*) FROM {name} WHERE {column} = $1", tenant_id
            )
        )
    }


async def forget(management: asyncpg.Connection, tenant_id: str) -> None:
    """Delete a tenant's rows, as if the registry had been restored from a backup."""
    for name in ("tenant_credentials", "sagas", "schema_states", "operations"):
        await management.execute(f"DELETE FROM {name} WHERE tenant_id = $1", tenant_id)
    await management.execute("DELETE FROM tenants WHERE id = $1", tenant_id)
