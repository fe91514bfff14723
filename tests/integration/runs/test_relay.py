from __future__ import annotations

import asyncio
import signal
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from uuid import UUID

from tests.support.databases import PASSWORD
from tests.support.runs_service import make_due
from tests.support.waiting import wait_until

from dataplane.databases import MANAGEMENT
from dataplane.directory import TenantDirectory
from dataplane.tenants import DataPlane
from interceptor.server import Context, bind
from interceptor.testing import serve
from nagaya.tenant.v1 import tenant_pb2, tenant_service_pb2, tenant_service_pb2_grpc
from runs.api.relay.reconciler import STALE_AFTER
from runs.domain.activities import RunRef
from runs.domain.plan import workflow_id
from runs.domain.runs import RunStatus
from runs.domain.transitions import Transitions

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import asyncpg
    from tests.support.databases import TenantDatabases
    from tests.support.runs_service import RunsService

    from runs.api.launcher import Launcher
    from servicekit.testing import Keys


async def test_a_run_created_while_temporal_was_away_is_started_later(
    service: RunsService,
    unreachable_launcher: Launcher,
    database: asyncpg.Connection,
    registry: asyncpg.Connection,
) -> None:
    await service.pipeline()
    run = await service.with_launcher(unreachable_launcher).run()
    await make_due(database, registry)
    await service.relay(service.launcher, STALE_AFTER).poll()

    state = await service.launcher.describe("acme", run.run_id)
    assert state is not None
    assert state.status == "running"
    assert await database.fetchval("SELECT count(*) FROM outbox") == 0


async def test_a_run_whose_creator_was_killed_is_started_by_another_replica(
    service: RunsService,
    tenant_databases: TenantDatabases,
    database: asyncpg.Connection,
    registry: asyncpg.Connection,
) -> None:
    await service.pipeline()
    port = str(urlsplit(tenant_databases.superuser_url("acme")).port)
    names = tenant_databases.names["acme"], tenant_databases.names[MANAGEMENT]
    root = Path(__file__).parents[3]
    creator = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.integration.runs.killed_creator", port, *names, PASSWORD,
        cwd=root,
    )  # fmt: skip
    assert await creator.wait() == -signal.SIGKILL

    run_id = str(await database.fetchval("SELECT id FROM runs WHERE request_id = 'r1'"))
    assert await service.launcher.describe("acme", run_id) is None
    await make_due(database, registry)
    await service.relay(service.launcher, STALE_AFTER).poll()
    assert await service.launcher.describe("acme", run_id) is not None


async def test_replicas_share_the_outbox(
    service: RunsService,
    unreachable_launcher: Launcher,
    database: asyncpg.Connection,
    registry: asyncpg.Connection,
) -> None:
    await service.pipeline()
    away = service.with_launcher(unreachable_launcher)
    runs = await asyncio.gather(*(away.run() for _ in range(30)))
    await make_due(database, registry)
    relays = [service.relay(service.launcher, STALE_AFTER) for _ in range(3)]
    polled = await asyncio.gather(*(relay.poll() for relay in relays))

    assert sorted(polled) == [0, 0, 1]
    assert await database.fetchval("SELECT count(*) FROM outbox") == 0
    states = [await service.launcher.describe("acme", run.run_id) for run in runs]
    assert all(state is not None and state.status == "running" for state in states)


async def test_delivering_a_message_twice_changes_nothing(
    service: RunsService, database: asyncpg.Connection, registry: asyncpg.Connection
) -> None:
    await service.pipeline()
    run = await service.run()
    before = await service.launcher.describe("acme", run.run_id)
    await make_due(database, registry)
    await service.relay(service.launcher, STALE_AFTER).poll()

    assert await service.launcher.describe("acme", run.run_id) == before
    assert await database.fetchval("SELECT count(*) FROM outbox") == 0


async def test_what_cannot_be_delivered_is_tried_again_soon(
    service: RunsService,
    unreachable_launcher: Launcher,
    database: asyncpg.Connection,
    registry: asyncpg.Connection,
) -> None:
    await service.pipeline()
    away = service.with_launcher(unreachable_launcher)
    await away.run()
    await make_due(database, registry)
    await service.relay(unreachable_launcher, STALE_AFTER).poll()

    assert await database.fetchval("SELECT attempts FROM outbox") == 1
    soon = timedelta(seconds=6)
    assert await database.fetchval("SELECT due_at - now() < $1 FROM outbox", soon)
    assert await registry.fetchval("SELECT due_at - now() < $1 FROM runs_pending_work", soon)


async def test_a_cancellation_is_delivered_too(
    service: RunsService,
    unreachable_launcher: Launcher,
    database: asyncpg.Connection,
    registry: asyncpg.Connection,
) -> None:
    await service.pipeline()
    run = await service.run()
    await service.begin(run.run_id)
    await service.with_launcher(unreachable_launcher).steering.cancel("acme", run.run_id)
    await make_due(database, registry)
    await service.relay(service.launcher, STALE_AFTER).poll()

    assert await database.fetchval("SELECT count(*) FROM outbox") == 0


async def test_a_tenant_is_polled_once_a_day_once_nothing_is_left_and_its_row_is_old(
    service: RunsService, database: asyncpg.Connection, registry: asyncpg.Connection
) -> None:
    await service.pipeline()
    run = await service.run()
    await service.steering.cancel("acme", run.run_id)
    relay = service.relay(service.launcher, STALE_AFTER)
    await make_due(database, registry)
    await relay.poll()
    next_poll = "SELECT due_at - now() FROM runs_pending_work"
    assert await registry.fetchval(next_poll) < timedelta(minutes=4)

    await registry.execute("UPDATE runs_pending_work SET noted_at = now() - interval '4 minutes'")
    await make_due(database, registry)
    await relay.poll()
    assert await registry.fetchval(next_poll) > timedelta(hours=23)


async def test_a_run_is_started_soon_although_its_tenant_was_scheduled_and_polled_before_it(
    service: RunsService,
    unreachable_launcher: Launcher,
    database: asyncpg.Connection,
    registry: asyncpg.Connection,
) -> None:
    await service.pipeline()
    run = await service.run()
    await service.begin(run.run_id)
    await make_due(database, registry)
    await service.relay(service.launcher, STALE_AFTER).poll()
    noted = await registry.fetchval("SELECT noted_at FROM runs_pending_work")
    away = service.with_launcher(unreachable_launcher)
    away.runs._scheduler = service.runs._scheduler  # the same process, and Temporal has gone
    await away.run()

    assert await registry.fetchval("SELECT noted_at FROM runs_pending_work") == noted
    soon = timedelta(seconds=16)
    assert await registry.fetchval("SELECT due_at - now() < $1 FROM runs_pending_work", soon)


async def test_a_cancellation_that_came_as_the_run_ended_is_not_delivered_for_ever(
    service: RunsService, database: asyncpg.Connection, registry: asyncpg.Connection
) -> None:
    await service.pipeline()
    run = await service.run()
    await service.begin(run.run_id)
    name = await database.fetchval("SELECT current_database()")
    transitions, ref = Transitions(completes_run=True), RunRef("acme", run.run_id, 1)

    async def waits() -> bool:
        """Say whether the statement that completes the run waits for the run."""
        waiting = "datname = $1 AND wait_event_type = 'Lock'"
        return await registry.fetchval(
            f"SELECT EXISTS (SELECT FROM pg_stat_activity WHERE {waiting})", name
        )

    async with database.transaction():
        await database.execute("SELECT FROM runs WHERE id = $1 FOR NO KEY UPDATE", UUID(run.run_id))
        ending = asyncio.create_task(service.journal.advance(ref, transitions))
        await wait_until(waits)
        cancel = "INSERT INTO outbox (run_id, kind) VALUES ($1, 'cancel')"
        await database.execute(cancel, UUID(run.run_id))
    await ending
    handle = service.launcher._client.get_workflow_handle(workflow_id("acme", run.run_id))
    await handle.terminate()
    left = await database.fetch("SELECT kind FROM outbox")
    await make_due(database, registry)
    await service.relay(service.launcher, STALE_AFTER).poll()

    assert [row["kind"] for row in left] == ["cancel"], "what the statement could not see"
    assert await database.fetchval("SELECT count(*) FROM outbox") == 0
    assert (await service.find(run.run_id)).status is RunStatus.COMPLETED


async def test_a_tenant_with_an_open_run_is_polled_again_soon(
    service: RunsService, database: asyncpg.Connection, registry: asyncpg.Connection
) -> None:
    await service.pipeline()
    await service.run()
    await registry.execute("UPDATE runs_pending_work SET noted_at = now() - interval '4 minutes'")
    await make_due(database, registry)
    before = await registry.fetchval("SELECT clock_timestamp()")
    await service.relay(service.launcher, STALE_AFTER).poll()

    due, after = await registry.fetchrow(
        "SELECT due_at, clock_timestamp() FROM runs_pending_work"
    ) or (before, before)
    # 15 s, give or take a quarter
    assert before + timedelta(seconds=11) < due < after + timedelta(seconds=19)


async def test_a_tenant_that_cannot_be_reached_does_not_keep_the_others_waiting(
    service: RunsService,
    unreachable_launcher: Launcher,
    database: asyncpg.Connection,
    registry: asyncpg.Connection,
) -> None:
    await service.pipeline()
    run = await service.with_launcher(unreachable_launcher).run()
    await registry.execute(
        "INSERT INTO runs_pending_work (tenant_id, kind, due_at) VALUES ('gone', 'runs', now())"
    )
    await make_due(database, registry)
    assert await service.relay(service.launcher, STALE_AFTER).poll() == 2

    assert await service.launcher.describe("acme", run.run_id) is not None


class RegistryServicer(tenant_service_pb2_grpc.TenantServiceServicer):
    """The one method of tenant that a directory follows: `acme` and `globex` are active."""

    async def WatchTenants(
        self, request: tenant_service_pb2.WatchTenantsRequest, context: Context
    ) -> AsyncGenerator[tenant_service_pb2.WatchTenantsResponse]:
        for tenant_id in ("acme", "globex"):
            active = tenant_pb2.Tenant(tenant_id=tenant_id, state=tenant_pb2.TENANT_STATE_ACTIVE)
            yield tenant_service_pb2.WatchTenantsResponse(tenant=active)
        yield tenant_service_pb2.WatchTenantsResponse(synced=True)
        await asyncio.Event().wait()


async def test_tenants_whose_row_was_lost_are_found(
    service: RunsService, keys: Keys, registry: asyncpg.Connection
) -> None:
    await service.pipeline()
    await service.run()
    await registry.execute("DELETE FROM runs_pending_work")
    servicer = RegistryServicer()  # pyright: ignore[reportAbstractUsage] - one method is served
    add = tenant_service_pb2_grpc.add_TenantServiceServicer_to_server
    binding = bind(add, servicer, "nagaya.tenant.v1.TenantService")
    only = {"WatchTenants": binding.handlers["WatchTenants"]}
    async with serve(keys, replace(binding, handlers=only)) as server:
        directory = TenantDirectory(server.workload_channel("runs"))
        directory.start()
        await directory.ready()
        data = DataPlane(service.tenants, service.management, directory)
        await service.relay(service.launcher, STALE_AFTER, data).poll()
        await directory.close()

    rows = await registry.fetch("SELECT tenant_id FROM runs_pending_work ORDER BY tenant_id")
    assert [row["tenant_id"] for row in rows] == ["acme", "globex"]
