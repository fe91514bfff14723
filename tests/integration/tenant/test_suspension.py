from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import asyncpg
import pytest
from tests.integration.tenant.harness import RUNS, killed_after, migration, started
from tests.support.audit_log import chain

from tenant.creation import Step
from tenant.domain.tenants import TenantState
from tenant.errors import MigrationFailed, TenantNotFound, TenantNotReady

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from tenant.composition import Composition
    from tenant.config import Config


async def log_in(service: Composition, tenant_id: str) -> asyncpg.Connection:
    """Log in as runs does, with credentials that it has kept."""
    login = await service.connections.resolve("runs", tenant_id)
    return await asyncpg.connect(
        host=login.host,
        port=login.port,
        user=login.user,
        password=login.password,
        database=login.database,
    )


async def is_open(management: asyncpg.Connection, name: str) -> bool:
    return await management.fetchval(
        "SELECT datallowconn FROM pg_database WHERE datname = $1", name
    )


async def test_suspension_ends_every_session_and_lets_nobody_in(
    service: Composition, management: asyncpg.Connection
) -> None:
    tenant = await service.tenants.create("acme", "r1", "Acme")
    sessions = [await log_in(service, "acme") for _ in range(3)]
    login = await service.connections.resolve("runs", "acme")

    suspended = await service.tenants.suspend("acme")

    assert (suspended.state, suspended.generation) == (TenantState.SUSPENDED, 2)
    for session in sessions:
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await session.execute("SELECT 1")
        session.terminate()
    with pytest.raises(
        asyncpg.InvalidAuthorizationSpecificationError, match=r"no pg_hba\.conf entry"
    ):
        await asyncpg.connect(
            host=login.host,
            port=login.port,
            user=login.user,
            password=login.password,
            database=login.database,
        )
    for refused in (service.connections.resolve("runs", "acme"), service.connections.own("acme")):
        with pytest.raises(TenantNotReady) as error:
            await refused
        assert error.value.metadata["state"] == "suspended"
    assert not await is_open(management, tenant.database.name)


async def memberships(
    management: asyncpg.Connection, service: Composition, tenant_id: str
) -> dict[str, set[str]]:
    """Return who is a member of the roles of a tenant's database and has their rights."""
    tenant = await service.tenants.create(tenant_id, "r1", "Acme")
    rows = await management.fetch(
        """
        SELECT roleid::regrole::text AS role, member::regrole::text AS member
          FROM pg_auth_members
         WHERE roleid::regrole::text = ANY($1) AND (inherit_option OR set_option)
        """,
        list(tenant.database.roles),
    )
    found: dict[str, set[str]] = {}
    for row in rows:
        role = row["role"].replace(tenant.database.name, "t")
        found.setdefault(role, set()).add(row["member"].replace(tenant.database.name, "t"))
    return found


async def test_a_suspended_tenant_s_roles_are_members_of_nothing_and_nobody_of_them(
    service: Composition, management: asyncpg.Connection
) -> None:
    before = await memberships(management, service, "acme")
    await service.tenants.suspend("acme")
    suspended = await memberships(management, service, "acme")
    await service.tenants.suspend("acme")  # again
    await service.tenants.resume("acme")

    assert len(before["t"]) == 8
    assert set(suspended) == {
        "t_tenant_mig"
    }  # the owner, by which a manager role manages the database
    assert await memberships(management, service, "acme") == before


async def test_resumption_lets_the_same_credentials_in_again(service: Composition) -> None:
    await service.tenants.create("acme", "r1", "Acme")
    before = await service.connections.resolve("runs", "acme")
    await service.tenants.suspend("acme")

    resumed = await service.tenants.resume("acme")

    assert (resumed.state, resumed.generation) == (TenantState.ACTIVE, 3)
    after = await service.connections.resolve("runs", "acme")
    assert after == replace(before, generation=3)
    session = await log_in(service, "acme")
    assert await session.fetchval("SELECT count(*) FROM runs") == 0
    await session.close()


async def test_suspending_and_resuming_twice_changes_nothing(
    service: Composition, management: asyncpg.Connection
) -> None:
    tenant = await service.tenants.create("acme", "r1", "Acme")
    assert await service.tenants.resume("acme") == tenant
    suspended = await service.tenants.suspend("acme")
    assert await service.tenants.suspend("acme") == suspended
    await service.tenants.resume("acme")

    await chain(management)
    rows = await management.fetch(
        "SELECT action FROM audit_logs WHERE resource_id = 'acme' ORDER BY sequence"
    )
    assert [row["action"] for row in rows] == ["tenant.create", "tenant.suspend", "tenant.resume"]


async def test_what_was_published_meanwhile_is_applied_on_resumption(service: Composition) -> None:
    await service.tenants.create("acme", "r1", "Acme")
    await service.tenants.suspend("acme")
    done = await service.schema.publish("runs", [RUNS, migration("runs", 2, "SELECT 1")])
    assert (done.current_tenant_count, done.behind_tenant_ids) == (0, ())

    await service.tenants.resume("acme")

    async with service.tenant_pools.connection("acme") as connection:
        applied = await connection.fetchval(
            "SELECT max(number) FROM schema_migrations WHERE service = 'runs'"
        )
    assert applied == 2


async def test_a_tenant_whose_migrations_fail_stays_suspended_and_closed(
    service: Composition, management: asyncpg.Connection
) -> None:
    tenant = await service.tenants.create("acme", "r1", "Acme")
    await service.tenants.suspend("acme")
    await service.schema.publish("runs", [RUNS, migration("runs", 2, "SELECT nothing")])

    with pytest.raises(MigrationFailed) as error:
        await service.tenants.resume("acme")

    assert error.value.metadata == {"service": "runs", "number": "2", "sqlstate": "42703"}
    assert not await is_open(management, tenant.database.name)
    assert await management.fetchval("SELECT state FROM tenants") == "suspended"
    await service.schema.publish("runs", [RUNS, migration("runs", 2, "SELECT 1")])
    assert (await service.tenants.resume("acme")).state is TenantState.ACTIVE


async def test_a_tenant_that_is_being_created_can_be_neither_suspended_nor_resumed(
    service: Composition, config: Config
) -> None:
    async with started(config) as dying:
        with killed_after(Step.SCHEMA):
            await dying.tenants.create("acme", "r1", "Acme")

    for refused in (
        service.tenants.suspend("acme"),
        service.tenants.resume("acme"),
        service.connections.resolve("runs", "acme"),
    ):
        with pytest.raises(TenantNotReady) as error:
            await refused
        assert error.value.metadata["state"] == "creating"


async def test_a_tenant_that_does_not_exist_is_not_found(service: Composition) -> None:
    for refused in (
        service.tenants.suspend("acme"),
        service.tenants.resume("acme"),
        service.connections.resolve("runs", "acme"),
        service.connections.own("acme"),
    ):
        with pytest.raises(TenantNotFound):
            await refused


async def test_what_is_suspended_but_open_is_closed_at_the_next_start(
    service: Composition,
    management: asyncpg.Connection,
    replica: Callable[[], AbstractAsyncContextManager[Composition]],
) -> None:
    tenant = await service.tenants.create("acme", "r1", "Acme")
    await management.execute("UPDATE tenants SET state = 'suspended', is_active = false")

    async with replica():
        assert not await is_open(management, tenant.database.name)
