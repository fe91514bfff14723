"""Limits of tenants: their weight, their slots, and how fast their runs start."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.runs_client import reason

from nagaya.runs.v1 import tenant_limit_service_pb2 as pb
from nagaya.runs.v1 import tenant_limit_service_pb2_grpc
from runs.api.relay.outbox import OutboxRelay
from runs.domain.installed import Installed
from runs.domain.tenant_limits import TenantLimits
from runs.store import run_demand, workers
from runs.tenant_limit_cache import TenantLimitCache
from servicekit.errors import DomainError

if TYPE_CHECKING:
    import asyncpg
    from tests.support.runs_service import RunsService

    from dataplane.tenants import ManagementPool
    from interceptor.testing import RunningServer
    from runs.domain.plan import RunStart

PER_MINUTE = 60
NOTHING = Installed(frozenset(), frozenset(), {})


def limits(server: RunningServer, tenant_id: str) -> Any:  # noqa: ANN401 - a stub
    channel = server.channel(tenants=[tenant_id])
    return tenant_limit_service_pb2_grpc.TenantLimitServiceStub(channel)


async def test_whoever_may_act_for_all_tenants_sets_limits(
    server: RunningServer, registry: asyncpg.Connection, management: ManagementPool
) -> None:
    wanted = pb.TenantLimits(weight=2, max_steps=30, starts_per_minute=PER_MINUTE, max_runs=7)
    request = pb.SetTenantLimitsRequest(tenant_id="acme", limits=wanted)
    with pytest.raises(DomainError) as refusal:
        await limits(server, "acme").SetTenantLimits(request)
    assert reason(refusal) == "PERMISSION_DENIED"

    for _ in range(2):
        assert (await limits(server, "*").SetTenantLimits(request)).limits == wanted

    shown = await limits(server, "acme").GetTenantLimits(
        pb.GetTenantLimitsRequest(tenant_id="acme")
    )
    assert shown.limits == wanted
    cache = TenantLimitCache(management)
    await cache.refresh()
    assert cache.of("acme") == TenantLimits(2, 30, PER_MINUTE, 7)
    assert cache.of("bolt") == TenantLimits()
    request.limits.CopyFrom(pb.TenantLimits())
    await limits(server, "*").SetTenantLimits(request)
    assert await registry.fetchval("SELECT count(*) FROM runs_tenant_limits") == 0


async def test_what_a_tenant_may_have_now_is_shown_and_why(
    server: RunningServer, management: ManagementPool
) -> None:
    async with management.connection() as connection:
        await workers.put(connection, "a", "", NOTHING, 100, 75)
        await workers.put(connection, "b", "", NOTHING, 20, 50)
        own = Installed(frozenset({"acme"}), frozenset(), {})
        await workers.put(connection, "c", "gpu", own, 8, 75)
        await run_demand.put(connection, {(one, ""): 1_000 for one in ("acme", "bolt", "crag")})

    async def set_limits(**limits: int) -> None:
        request = pb.SetTenantLimitsRequest(tenant_id="acme", limits=pb.TenantLimits(**limits))
        await limits_of_all.SetTenantLimits(request)

    async def shown(tenant_id: str = "acme") -> list[tuple[str, int, str, int, int, int]]:
        request = pb.GetTenantLimitsRequest(tenant_id=tenant_id)
        now = (await limits(server, tenant_id).GetTenantLimits(request)).now
        return [
            (
                *(one.task_queue, one.runs_at_once, pb.RunBound.Name(one.run_bound)),
                *(one.other_tenant_count, one.worker_steps, one.max_steps),
            )
            for one in now.task_queues
        ]

    limits_of_all = limits(server, "*")
    await set_limits()
    beside = ("", 40, "RUN_BOUND_OTHER_TENANTS", 2, 120, 75 + 10)
    assert await shown() == [beside, ("gpu", 8, "RUN_BOUND_WORKERS", 0, 8, 6)]
    assert await shown("bolt") == [beside]
    await set_limits(max_runs=8, max_steps=7)
    assert await shown() == [
        ("", 8, "RUN_BOUND_MAX_RUNS", 2, 120, 7 + 7),
        ("gpu", 8, "RUN_BOUND_MAX_RUNS", 0, 8, 6),
    ]
    await set_limits(weight=2)
    assert await shown() == [
        ("", 60, "RUN_BOUND_OTHER_TENANTS", 2, 120, 85 + 13),
        ("gpu", 8, "RUN_BOUND_WORKERS", 0, 8, 6),
    ]


class NotedLauncher:
    """Notes what is started."""

    def __init__(self) -> None:
        self.started: list[str] = []

    async def start(self, start: RunStart, task_queue: str) -> None:
        self.started.append(start.run_id)


async def test_runs_start_at_the_rate_of_their_tenant_the_oldest_first(
    service: RunsService, database: asyncpg.Connection
) -> None:
    await service.pipeline()
    created = [(await service.run()).run_id for _ in range(9)]
    await database.execute("UPDATE outbox SET due_at = now()")
    launcher: Any = NotedLauncher()
    limited = TenantLimits(starts_per_minute=PER_MINUTE)
    relay = OutboxRelay(service.tenants, launcher, service.finalizer, lambda _: limited)

    due = await relay.deliver("acme")
    first = list(launcher.started)
    await database.execute("UPDATE start_rate SET next_start = now() - interval '2.5 seconds'")
    await relay.deliver("acme")
    second = launcher.started[len(first) :]
    await database.execute("UPDATE start_rate SET next_start = now() - interval '1 hour'")
    last = await relay.deliver("acme")

    assert first == created[:1]
    assert due is not None
    assert timedelta(seconds=0.5) < due <= timedelta(seconds=1)
    assert second == created[1:4]
    assert sorted(launcher.started[4:]) == sorted(created[4:])  # five seconds are made up
    assert last is None


async def test_a_rate_above_one_claim_is_reached(
    service: RunsService, database: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runs.api.relay.outbox._MESSAGES", 2)
    await service.pipeline()
    created = [(await service.run()).run_id for _ in range(5)]
    await database.execute("UPDATE outbox SET due_at = now()")
    await database.execute("INSERT INTO start_rate (next_start) VALUES (now() - interval '1 hour')")
    launcher: Any = NotedLauncher()
    limited = TenantLimits(starts_per_minute=60_000)
    relay = OutboxRelay(service.tenants, launcher, service.finalizer, lambda _: limited)

    assert await relay.deliver("acme") is None

    assert sorted(launcher.started) == sorted(created)


async def test_a_run_of_a_tenant_with_a_rate_is_left_to_the_relay(
    service: RunsService, database: asyncpg.Connection
) -> None:
    await service.pipeline()
    service.limits = TenantLimits(starts_per_minute=PER_MINUTE)

    run = await service.run()

    assert await service.launcher.describe("acme", run.run_id) is None
    assert await database.fetchval("SELECT count(*) FROM outbox") == 1
