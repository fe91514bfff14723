"""Creations whose process died: finished by the same request, or by another process alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import pytest
from tests.integration.tenant.creations import check_complete
from tests.integration.tenant.harness import killed_after, killed_at, started
from tests.support.waiting import wait_until

from tenant.creation import Step
from tenant.domain.tenants import TenantState
from tenant.errors import TenantExists
from tenant.store import databases

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from nagaya_local.parts.postgres import PostgresServer
    from tenant.composition import Composition
    from tenant.config import Config


@pytest.mark.parametrize("step", Step)
async def test_the_same_request_finishes_what_died_after_a_step(
    service: Composition, config: Config, management: asyncpg.Connection, step: Step
) -> None:
    async with started(config) as dying:
        with killed_after(step):
            await dying.tenants.create("acme", "r1", "Acme")
    begun = await management.fetchval("SELECT db_name FROM tenants")

    tenant = await service.tenants.create("acme", "r1", "Acme")

    assert tenant.state is TenantState.ACTIVE
    assert tenant.database.name == begun
    await check_complete(service, management, tenant)


async def test_the_same_request_finishes_a_database_that_was_made_and_not_opened(
    service: Composition, config: Config, management: asyncpg.Connection
) -> None:
    async with started(config) as dying:
        with killed_at(databases, "restrict_connect"):
            await dying.tenants.create("acme", "r1", "Acme")

    tenant = await service.tenants.create("acme", "r1", "Acme")

    await check_complete(service, management, tenant)


async def test_a_creation_whose_caller_and_process_died_is_listed_and_goes_on(
    service: Composition, config: Config, management: asyncpg.Connection
) -> None:
    async with started(config) as dying:
        with killed_after(Step.DATABASE):
            await dying.tenants.create("acme", "r1", "Acme")
    rows = await management.fetch("SELECT kind, tenant_id, state, step, user_id FROM operations")
    assert [tuple(row) for row in rows] == [
        ("create_tenant", "acme", "running", str(Step.ROLES), "ada")
    ]

    service.runner.start()

    async def active() -> bool:
        return await management.fetchval("SELECT is_active FROM tenants")

    await wait_until(active)
    await check_complete(service, management, await service.tenants.create("acme", "r1", "Acme"))


async def test_a_creation_of_the_release_before_has_no_operation_and_is_finished(
    service: Composition, config: Config, management: asyncpg.Connection
) -> None:
    async with started(config) as dying:
        with killed_after(Step.ROLES):
            await dying.tenants.create("acme", "r1", "Acme")
    await management.execute("DELETE FROM operations")
    await management.execute("INSERT INTO sagas (kind, tenant_id) VALUES ('create', 'acme')")

    await check_complete(service, management, await service.tenants.create("acme", "r1", "Acme"))


async def test_another_request_cannot_take_over_what_died(
    service: Composition, config: Config
) -> None:
    async with started(config) as dying:
        with killed_after(Step.DATABASE):
            await dying.tenants.create("acme", "r1", "Acme")

    with pytest.raises(TenantExists):
        await service.tenants.create("acme", "r2", "Acme")


async def test_a_database_half_made_whose_tenant_is_unknown_is_dropped_at_the_next_start(
    service: Composition,
    config: Config,
    postgres: PostgresServer,
    management: asyncpg.Connection,
    replica: Callable[[], AbstractAsyncContextManager[Composition]],
) -> None:
    half_made, complete = f"t_half_{config.database.database}", "tenant-kept"
    kept = await service.tenants.create(complete, "r1", "Kept")
    async with started(config) as dying:
        with killed_after(Step.DATABASE):
            await dying.tenants.create("lost", "r2", "Lost")
    lost = await management.fetchval("SELECT db_name FROM tenants WHERE id = 'lost'")
    superuser = await asyncpg.connect(postgres.superuser_url())
    await superuser.execute(f'CREATE DATABASE "{half_made}"')
    for table in ("tenant_credentials", "operations", "tenants"):
        # as if the registry had been restored from a backup
        await management.execute(f"DELETE FROM {table}")

    async with replica():
        pass

    names = {row["datname"] for row in await superuser.fetch("SELECT datname FROM pg_database")}
    await superuser.close()
    assert lost not in names
    assert {kept.database.name, half_made} <= names
