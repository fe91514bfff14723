from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.integration.dataplane.registry import until, until_known
from tests.support.waiting import wait_until

from dataplane.databases import WrongDatabase
from nagaya.tenant.v1 import tenant_pb2
from servicekit.call import acting_as
from servicekit.errors import PermissionDenied, TenantNotActive, TenantNotFound
from servicekit.identity import Principal

if TYPE_CHECKING:
    from tests.integration.dataplane.registry import Registry

    from dataplane.tenants import DataPlane


KEYS = "CREATE TABLE keys (id INT PRIMARY KEY); GRANT ALL ON keys TO PUBLIC"


async def test_a_tenant_is_reached_in_its_own_database(data: DataPlane) -> None:
    async with data.tenants.connection("acme") as connection:
        row = await connection.fetchrow(
            "SELECT current_database() AS name, current_setting('application_name') AS service,"
            " current_setting('statement_timeout') AS timeout"
        )

    assert row is not None
    assert row["name"].endswith("_acme")
    assert (row["service"], row["timeout"]) == ("runs", "30s")
    assert data.directory.active() == ("acme",)


async def test_a_transaction_is_kept_or_leaves_nothing(data: DataPlane) -> None:
    async with data.tenants.transaction("acme") as connection:
        await connection.execute("INSERT INTO notes VALUES (1)")
    with pytest.raises(ZeroDivisionError):
        await fail_in_a_transaction(data)

    async with data.tenants.connection("acme") as connection:
        assert await connection.fetchval("SELECT array_agg(id) FROM notes") == [1]


async def fail_in_a_transaction(data: DataPlane) -> None:
    async with data.tenants.transaction("acme") as connection:
        await connection.execute("INSERT INTO notes VALUES (2)")
        raise ZeroDivisionError


async def test_a_statement_planned_for_an_empty_table_does_not_read_it_when_it_is_large(
    registry: Registry, data: DataPlane
) -> None:
    await registry.execute("acme", KEYS)
    async with data.tenants.connection("acme") as connection:
        await connection.execute("PREPARE find (int[]) AS SELECT FROM keys WHERE id = ANY($1)")
        await connection.fetch("EXECUTE find ('{7}')")
        await connection.execute("INSERT INTO keys SELECT generate_series(1, 5000)")
        plan = [row[0] for row in await connection.fetch("EXPLAIN EXECUTE find ('{7}')")]
        planned = await connection.fetchrow(
            "SELECT generic_plans, custom_plans FROM pg_prepared_statements"
        )
        await connection.execute("DEALLOCATE find")

    assert any("$1" in line for line in plan)  # not planned for this call
    assert not any("Seq Scan" in line for line in plan)
    assert planned is not None
    assert planned["custom_plans"] == 0


async def test_connections_are_used_again_and_pools_are_opened_once(
    data: DataPlane, registry: Registry
) -> None:
    async def backend() -> int:
        async with data.tenants.connection("acme") as connection:
            return int(await connection.fetchval("SELECT pg_backend_pid()"))

    await asyncio.gather(*(backend() for _ in range(30)))
    assert len({await backend() for _ in range(10)}) == 1
    assert registry.resolved["acme"] == 1
    assert await registry.sessions("acme") <= 3


async def test_a_database_that_belongs_to_another_tenant_is_never_used(
    data: DataPlane, registry: Registry
) -> None:
    await registry.create("globex", says="acme")

    for _ in range(2):
        with pytest.raises(WrongDatabase, match="belongs to acme"):
            async with data.tenants.connection("globex"):
                pass
    await until(lambda: registry.sessions("globex"), 0)


async def test_a_database_that_has_lost_its_identity_is_never_used(
    data: DataPlane, registry: Registry
) -> None:
    await registry.execute("acme", "DROP TABLE tenant_identity")

    with pytest.raises(WrongDatabase, match="belongs to none"):
        async with data.tenants.connection("acme"):
            pass


async def test_a_suspended_tenant_is_refused_at_once_and_its_sessions_end(
    data: DataPlane, registry: Registry
) -> None:
    async with data.tenants.connection("acme") as connection:
        await connection.execute("SELECT 1")
        registry.tell("acme", tenant_pb2.TENANT_STATE_SUSPENDED, generation=2)
        await until_known(data, "acme", generation=2)
        await connection.execute("SELECT 1")

    with pytest.raises(TenantNotActive) as refused:
        async with data.tenants.connection("acme"):
            pass
    assert refused.value.metadata == {"state": "suspended"}
    await until(lambda: registry.sessions("acme"), 0)


async def test_an_unknown_tenant_looks_like_a_forbidden_one_and_callers_share_a_question(
    data: DataPlane, registry: Registry
) -> None:
    refused = await asyncio.gather(
        *(data.tenants.check("nobody") for _ in range(50)), return_exceptions=True
    )

    assert all(isinstance(error, PermissionDenied) for error in refused)
    assert registry.resolved["nobody"] == 2  # again for those who had joined the first question


async def test_a_tenant_is_reached_at_once_when_it_is_resumed_or_created(
    data: DataPlane, registry: Registry
) -> None:
    """The registry's stream may be late, and what it refused a moment ago is asked again."""
    await registry.create("globex")
    await until_known(data, "globex", generation=1)
    stale = registry.tenants["globex"]
    registry.tell("globex", tenant_pb2.TENANT_STATE_SUSPENDED, generation=2)
    await until_known(data, "globex", generation=2)
    with pytest.raises(TenantNotActive):
        await data.tenants.check("globex")
    with pytest.raises(PermissionDenied):
        await data.tenants.check("initech")

    registry.tenants["globex"] = stale  # nobody who watches is told
    await registry.create("initech", announced=False)

    await data.tenants.check("globex")
    await data.tenants.check("initech")


async def test_a_caller_that_shares_a_question_from_before_a_resume_reaches_the_tenant(
    data: DataPlane, registry: Registry
) -> None:
    await registry.create("globex")
    registry.tell("globex", tenant_pb2.TENANT_STATE_SUSPENDED, generation=2)
    await until_known(data, "globex", generation=2)
    registry.answering.clear()
    before = asyncio.create_task(data.tenants.check("globex"))

    async def asked() -> bool:
        return registry.resolved.get("globex") == 1

    await wait_until(asked)
    registry.tenants["globex"].state = tenant_pb2.TENANT_STATE_ACTIVE
    after = asyncio.create_task(data.tenants.check("globex"))
    await asyncio.sleep(0)  # it has joined
    registry.answering.set()

    with pytest.raises(TenantNotActive):
        await before
    await after


@pytest.mark.parametrize("asked_twice", [False, True])
async def test_only_who_may_act_for_all_tenants_learns_that_there_is_none(
    data: DataPlane, *, asked_twice: bool
) -> None:
    operator = Principal("ada", None, frozenset({"*"}), frozenset({"*"}))
    if asked_twice:
        with pytest.raises(PermissionDenied):
            await data.tenants.check("nobody")
    with acting_as(operator), pytest.raises(TenantNotFound) as raised:
        async with data.tenants.transaction("nobody"):
            pass

    assert raised.value.reason == "ERROR_REASON_TENANT_NOT_FOUND"
    other = Principal("eve", None, frozenset({"nobody"}), frozenset({"*"}))
    with acting_as(other), pytest.raises(PermissionDenied):
        await data.tenants.check("nobody")


async def test_the_empty_tenant_is_no_way_into_the_management_database(
    data: DataPlane, registry: Registry
) -> None:
    before = registry.resolved.get("", 0)
    for enter in (data.tenants.connection, data.tenants.transaction):
        with pytest.raises(PermissionDenied):
            async with enter(""):
                pass
    with pytest.raises(PermissionDenied):
        await data.tenants.check("")

    assert registry.resolved.get("", 0) == before


async def test_a_change_in_the_registry_makes_new_connections(
    data: DataPlane, registry: Registry
) -> None:
    async with data.tenants.connection("acme"):
        pass
    await registry.rotate("acme")
    registry.tell("acme", tenant_pb2.TENANT_STATE_ACTIVE, generation=2)
    await until_known(data, "acme", generation=2)

    await until(lambda: registry.sessions("acme"), 0)
    async with data.tenants.connection("acme") as connection:
        assert await connection.fetchval("SELECT 1") == 1


async def test_what_was_missed_while_the_watch_was_away_is_learnt_on_reconnection(
    data: DataPlane, registry: Registry
) -> None:
    await registry.create("globex")
    await until_known(data, "globex", generation=1)
    gone = asyncio.Event()
    data.directory.on_change(lambda tenant_id: gone.set() if tenant_id == "globex" else None)
    registry.forget_silently("globex")
    registry.end_watches()

    async with asyncio.timeout(60):
        await gone.wait()
    assert data.directory.active() == ("acme",)


async def test_the_budget_of_a_server_holds_over_all_its_tenants(
    data: DataPlane, registry: Registry
) -> None:
    tenants = ["acme", "globex", "initech", "umbrella"]
    for tenant_id in tenants[1:]:
        await registry.create(tenant_id)
    most = 0

    async def work(tenant_id: str) -> None:
        nonlocal most
        async with data.tenants.connection(tenant_id) as connection:
            most = max(most, await registry.sessions(*tenants))
            await connection.execute("SELECT pg_sleep(0.01)")

    await asyncio.gather(*(work(tenant_id) for tenant_id in tenants * 5))
    assert 1 <= most <= 3


async def test_a_smaller_share_of_a_servers_budget_closes_what_is_beyond_it(
    registry: Registry, data: DataPlane
) -> None:
    async def backend() -> int:
        async with data.tenants.connection("acme") as connection:
            return int(await connection.fetchval("SELECT pg_backend_pid() FROM pg_sleep(0.05)"))

    assert len(set(await asyncio.gather(*(backend() for _ in range(6))))) == 3
    registry.share_server("acme", 1)
    registry.tell("acme", tenant_pb2.TENANT_STATE_ACTIVE, generation=2)
    await until_known(data, "acme", 2)

    assert len(set(await asyncio.gather(*(backend() for _ in range(6))))) == 1
    await until(lambda: registry.sessions("acme"), 1)
