"""How many runs of a tenant are under way beside those of others, across processes."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from tests.integration.runs.queued_runs import complete, create, queued, relay, started
from tests.support.runs_service import make_due

from dataplane.tenants import ManagementPool
from runs.domain.installed import Installed
from runs.domain.tenant_limits import TenantLimits
from runs.store import run_demand, tenant_limits, workers
from runs.tenant_limit_cache import TenantLimitCache
from servicekit.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    import asyncpg
    from tests.support.runs_service import RunsService

COPY = Installed(frozenset(), frozenset({"copy"}), {})
MANY = 1_000


@pytest.fixture
async def cache(management: ManagementPool) -> TenantLimitCache:
    """The limits as a process knows them; one worker does four steps at once."""
    async with management.connection() as connection:
        await workers.put(connection, "w", "", COPY, 4, 75)
    return TenantLimitCache(management)


async def have(management: ManagementPool, demand: Mapping[tuple[str, str], int]) -> None:
    """Have tenants want so many runs under way, by tenant and task queue."""
    async with management.connection() as connection:
        await run_demand.put(connection, demand)


async def old(registry: asyncpg.Connection, seconds: float) -> None:
    """Have all that is known be so many seconds old."""
    sql = "UPDATE runs_tenant_demand SET seen_at = now() - make_interval(secs => $1)"
    await registry.execute(sql, seconds)


async def test_a_long_queue_shrinks_while_others_have_runs_to_do_and_grows_again(
    service: RunsService,
    management: ManagementPool,
    registry: asyncpg.Connection,
    cache: TenantLimitCache,
) -> None:
    assert not cache.are_known()
    await cache.refresh()
    assert cache.are_known()
    service.limits = cache.of("acme")
    await service.pipeline()
    created = await create(service, 12)
    assert await queued(service, created) == created[4:]

    await have(management, {("bolt", ""): MANY, ("crag", "own"): MANY})
    await cache.refresh()
    service.limits = cache.of("acme")
    for run_id in created[:2]:
        await complete(service, run_id)
        await relay(service).deliver("acme")
    assert await queued(service, created) == created[4:]
    for run_id in created[2:4]:
        await complete(service, run_id)
        await relay(service).deliver("acme")
    assert await queued(service, created) == created[6:]

    await old(registry, run_demand.HELD_SECONDS)
    async with management.connection() as connection:
        await run_demand.replace(connection, "bolt", {})
    await cache.refresh()
    service.limits = cache.of("acme")
    await relay(service).deliver("acme")
    assert await queued(service, created) == created[8:]
    assert await started(service, created) == created[:8]


async def test_processes_tell_each_other_of_runs_that_are_created(
    service: RunsService, management: ManagementPool, cache: TenantLimitCache
) -> None:
    service.limits = TenantLimits(max_runs=3)
    await service.pipeline()
    other_process = TenantLimitCache(management)

    async def left_to_bolt() -> int:
        await cache.refresh()
        await other_process.refresh()
        return other_process.of("bolt").runs_at_once("")

    service.runs._note_demand = cache.note_demand
    assert await left_to_bolt() == 4
    await service.run(hold=True)
    assert await left_to_bolt() == 4
    await create(service, 1)
    assert await left_to_bolt() == 3
    await create(service, 3)
    assert await left_to_bolt() == 2
    assert other_process.of("acme").runs_at_once("") == 4


async def test_a_relays_visit_counts_what_a_tenant_has_to_do(
    service: RunsService, database: asyncpg.Connection, registry: asyncpg.Connection
) -> None:
    service.limits = TenantLimits(max_runs=2)
    await service.pipeline()
    created = await create(service, 3)
    await database.execute("UPDATE runs SET task_queue = 'own' WHERE id = $1::uuid", created[0])
    await service.run(hold=True)
    demand = "SELECT task_queue, runs FROM runs_tenant_demand WHERE tenant_id = 'acme' ORDER BY 1"

    async def visit() -> list[tuple[str, int]]:
        await old(registry, run_demand.HELD_SECONDS)
        await make_due(database, registry)
        await service.relay(service.launcher, timedelta(seconds=15)).poll()
        return [tuple(row) for row in await registry.fetch(demand)]

    assert await visit() == [("", 2), ("own", 1)]
    await complete(service, created[0])
    assert await visit() == [("", 2)]
    for run_id in created[1:]:
        await complete(service, run_id)
    assert await visit() == []


async def test_what_a_tenant_has_to_do_only_grows_for_some_seconds(
    management: ManagementPool, registry: asyncpg.Connection
) -> None:
    demand = "SELECT task_queue, runs FROM runs_tenant_demand ORDER BY 1"

    async def visit(runs: Mapping[str, int]) -> list[tuple[str, int]]:
        async with management.connection() as connection:
            await run_demand.replace(connection, "acme", runs)
        return [tuple(row) for row in await registry.fetch(demand)]

    assert await visit({"": 7, "own": 2}) == [("", 7), ("own", 2)]
    assert await visit({"": 1}) == [("", 7), ("own", 2)]
    assert await visit({"": 8}) == [("", 8), ("own", 2)]
    await old(registry, run_demand.HELD_SECONDS)
    assert await visit({"": 1}) == [("", 1)]


async def test_what_a_tenant_had_to_do_is_forgotten_when_nobody_says_it_any_more(
    management: ManagementPool, registry: asyncpg.Connection, cache: TenantLimitCache
) -> None:
    await have(management, {("bolt", ""): MANY})
    await cache.refresh()
    assert cache.of("acme").runs_at_once("") == 2
    await old(registry, run_demand.SECONDS)
    await cache.refresh()
    assert cache.of("acme").runs_at_once("") == 4


async def test_limits_and_rates_bound_what_a_tenant_takes_from_others(
    management: ManagementPool, cache: TenantLimitCache
) -> None:
    async with management.connection() as connection:
        for tenant_id, limits in (
            ("bolt", TenantLimits(max_runs=1)),
            ("crag", TenantLimits(starts_per_minute=1)),
        ):
            await tenant_limits.put(connection, tenant_id, limits)
    await have(management, {("bolt", ""): MANY, ("crag", ""): MANY})
    await cache.refresh()
    assert cache.of("acme").runs_at_once("") == 2
    assert cache.of("bolt").runs_at_once("") == 1


async def test_while_the_management_database_is_away_others_are_forgotten_soon(
    management: ManagementPool, cache: TenantLimitCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with management.connection() as connection:
        await tenant_limits.put(connection, "acme", TenantLimits(weight=3))
    await have(management, {("bolt", ""): MANY})
    await cache.refresh()

    def away(_: ManagementPool) -> object:
        raise Unavailable("away")

    monkeypatch.setattr(ManagementPool, "connection", away)
    cache.note_demand("acme", "", 1)
    with pytest.raises(Unavailable):
        await cache.refresh()
    cache._forget_demands()
    assert cache.of("acme").runs_at_once("") == 3
    monkeypatch.setattr(run_demand, "SECONDS", 0.0)
    cache._forget_demands()
    assert (cache.of("acme").runs_at_once(""), cache.of("acme").weight) == (4, 3)
    assert cache.of("dune").runs_at_once("") == 4

    monkeypatch.undo()
    await cache.refresh()
    assert cache.of("bolt").runs_at_once("") == 3  # acme's run was noted meanwhile


async def test_what_workers_do_for_some_tenants_is_divided_among_these_alone(
    management: ManagementPool, cache: TenantLimitCache
) -> None:
    async with management.connection() as connection:
        for name, queue, names, steps in (
            ("a", "gpu", ["acme"], 50),
            ("b", "gpu", ["bolt"], 50),
            ("c", "both", ["acme", "bolt"], 40),
            ("d", "", ["acme"], 20),
        ):
            reserved = Installed(frozenset(names), frozenset(), {})
            await workers.put(connection, name, queue, reserved, steps, 75)
    tenants, queues = ("acme", "bolt", "crag"), ("gpu", "both", "")
    await have(management, {(one, queue): MANY for one in tenants for queue in queues})
    await cache.refresh()

    found = {one: [cache.of(one).runs_at_once(queue) for queue in queues] for one in tenants[:2]}
    # four steps are done for whoever it is
    assert found == {"acme": [50, 20, 20 + 1], "bolt": [50, 20, 1]}
    async with management.connection() as connection:
        await tenant_limits.put(connection, "acme", TenantLimits(max_runs=10))
    await cache.refresh()
    assert [cache.of("acme").runs_at_once(queue) for queue in queues] == [10, 10, 10]


async def test_what_nobody_has_said_for_an_hour_is_deleted(
    management: ManagementPool, registry: asyncpg.Connection
) -> None:
    await have(management, {("bolt", ""): MANY, ("crag", ""): MANY})
    await old(registry, 3601)
    await have(management, {("acme", ""): 1, ("crag", ""): 2})
    rows = "SELECT tenant_id, runs FROM runs_tenant_demand ORDER BY 1"
    assert [tuple(row) for row in await registry.fetch(rows)] == [("acme", 1), ("crag", 2)]
