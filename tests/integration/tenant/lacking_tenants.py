"""Twelve tenants that lack a published migration, which counts how often it is applied."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import asyncpg
from tests.integration.tenant.harness import ADA, RUNS, migration, publish_both, started

from servicekit.call import acting_as
from tenant.config import RolloutMode

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from nagaya_local.parts.postgres import PostgresServer
    from tenant.composition import Composition
    from tenant.config import Config

NAMES = [f"tenant-{number:02}" for number in range(12)]
COUNTER = migration("runs", 2, "CREATE TABLE counter (n INT); INSERT INTO counter VALUES (0)")
# Applied twice it counts 2; it fails where a tenant's rows do not fit.
COUNT = migration(
    "runs", 3, "UPDATE counter SET n = n + 1; ALTER TABLE runs ALTER COLUMN note SET NOT NULL"
)


@asynccontextmanager
async def lacking(config: Config) -> AsyncGenerator[Composition]:
    """Run a replica that brings nothing to the tenants unless it is asked to."""
    async with started(replace(config, rollout_on_publish=RolloutMode.NONE)) as service:
        service.runner.start()
        with acting_as(ADA):
            await publish_both(service)
            await service.schema.publish("runs", [RUNS, COUNTER])
            for name in NAMES:
                await service.tenants.create(name, name, name)
            await service.schema.publish("runs", [RUNS, COUNTER, COUNT])
        yield service


async def execute(
    postgres: PostgresServer, service: Composition, tenant_id: str, sql: str
) -> object:
    """Run a statement in a tenant's database as superuser, and return its first value."""
    found = await service.connections.resolve("runs", tenant_id)
    connection = await asyncpg.connect(postgres.superuser_url(found.database))
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def counters(postgres: PostgresServer, service: Composition) -> list[object]:
    sql = "SELECT n FROM counter"
    return [await execute(postgres, service, name, sql) for name in NAMES]
