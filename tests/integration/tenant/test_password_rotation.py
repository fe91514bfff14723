"""New passwords for the roles of a database, while services use it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import pytest
from tests.integration.tenant.harness import killed_at
from tests.integration.tenant.rotation_load import loaded

from dataplane.databases import MANAGEMENT
from tenant.errors import RequestIdReused, TenantNotFound, TenantNotReady
from tenant.store import credentials, next_credentials, roles, tenants

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from dataplane.connection_parameters import ConnectionParameters
    from interceptor.testing import RunningServer
    from tenant.composition import Composition
    from tenant.domain.operations import Operation
    from tenant.domain.tenants import Tenant


@pytest.fixture
async def acme(service: Composition) -> Tenant:
    return await service.tenants.create("acme", "r1", "Acme")


async def rotated(service: Composition, tenant_id: str, request_id: str) -> Operation:
    operation = await service.secrets.passwords.begin(tenant_id, request_id)
    return await service.runner.run_to_end(operation)


async def logins(service: Composition, tenant_id: str) -> dict[str, ConnectionParameters]:
    services = ("runs", "artifacts")
    return {name: await service.connections.resolve(name, tenant_id) for name in services}


async def can_log_in(login: ConnectionParameters) -> bool:
    try:
        connection = await asyncpg.connect(
            host=login.host,
            port=login.port,
            database=login.database,
            user=login.user,
            password=login.password,
        )
    except asyncpg.InvalidPasswordError:
        return False
    await connection.close()
    return True


@pytest.mark.parametrize("tenant_id", ["acme", MANAGEMENT])
async def test_no_call_fails_while_passwords_change_again_and_again(
    service: Composition, server: RunningServer, acme: Tenant, tenant_id: str
) -> None:
    before = await logins(service, tenant_id)

    async with loaded(server, "acme") as load:
        for number in range(5):
            done = await rotated(service, tenant_id, f"rotation-{number}")
            assert done.result == {"sessions_left": "0"}
            await load.more(20)

    assert load.failures == []
    after = await logins(service, tenant_id)
    for name in before:
        assert before[name].password != after[name].password
        assert not await can_log_in(before[name])
        assert await can_log_in(after[name])
        assert after[name].next_password == ""


@pytest.mark.parametrize("tenant_id", ["acme", MANAGEMENT])
async def test_no_call_fails_while_the_process_that_rotates_is_killed(
    service: Composition, server: RunningServer, acme: Tenant, tenant_id: str
) -> None:
    change = "change_for_management" if tenant_id == MANAGEMENT else "change"
    async with loaded(server, "acme") as load:
        operation = await service.secrets.passwords.begin(tenant_id, "one")
        for module, function in (
            (next_credentials, "insert"),
            (roles, "change_passwords"),
            (credentials, change),
            (next_credentials, "delete"),
        ):
            with killed_at(module, function):
                await service.runner.run_to_end(operation)
            await load.more(40)
        await service.runner.run_to_end(operation)

    assert load.failures == []
    assert all([await can_log_in(each) for each in (await logins(service, tenant_id)).values()])


async def test_between_server_and_registry_a_service_gets_both_passwords(
    service: Composition, acme: Tenant
) -> None:
    before = await service.connections.resolve("runs", "acme")
    operation = await service.secrets.passwords.begin("acme", "one")
    with killed_at(credentials, "change"):
        await service.runner.run_to_end(operation)

    between = await service.connections.resolve("runs", "acme")
    own = await service.connections.own("acme")

    assert between.password == before.password
    assert between.next_password not in ("", between.password)
    assert own.next_password
    assert not await can_log_in(before)
    async with service.tenant_pools.connection("acme") as connection:
        assert await connection.fetchval("SELECT 1") == 1
    await service.runner.run_to_end(operation)
    after = await service.connections.resolve("runs", "acme")
    assert (after.password, after.next_password) == (between.next_password, "")
    assert after.generation == before.generation + 1


async def test_a_process_that_starts_in_the_middle_takes_nothing_back(
    service: Composition,
    acme: Tenant,
    replica: Callable[[], AbstractAsyncContextManager[Composition]],
) -> None:
    operation = await service.secrets.passwords.begin(MANAGEMENT, "one")
    with killed_at(credentials, "change_for_management"):
        await service.runner.run_to_end(operation)

    async with replica() as other:
        done = await other.runner.run_to_end(operation)
        login = await other.connections.resolve("runs", MANAGEMENT)

    assert "sessions_left" in done.result
    assert await can_log_in(login)


async def test_a_tenant_that_has_moved_meanwhile_keeps_the_passwords_of_the_move(
    service: Composition, acme: Tenant
) -> None:
    operation = await service.secrets.passwords.begin("acme", "one")
    with killed_at(roles, "change_passwords"):
        await service.runner.run_to_end(operation)
    async with service.management.connection() as connection:
        await connection.execute("UPDATE next_credentials SET db_name = 'another'")

    await service.runner.run_to_end(operation)

    login = await service.connections.resolve("runs", "acme")
    assert login.next_password == ""
    assert await can_log_in(login)


async def test_what_cannot_be_rotated_is_refused(service: Composition, acme: Tenant) -> None:
    with pytest.raises(TenantNotFound):
        await service.secrets.passwords.begin("globex", "one")
    await service.secrets.passwords.begin("acme", "one")
    with pytest.raises(RequestIdReused):
        await service.secrets.passwords.begin(MANAGEMENT, "one")
    await service.tenants.suspend("acme")
    with pytest.raises(TenantNotReady):
        await service.secrets.passwords.begin("acme", "two")
    async with service.management.connection() as connection:
        assert await tenants.find(connection, "acme") is not None
        sql = "SELECT count(*) FROM operations WHERE kind = 'rotate_passwords'"
        count = await connection.fetchval(sql)
    assert count == 1
