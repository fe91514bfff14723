"""Runs that wait for their turn: a tenant has so many under way, and the rest stay pending."""

from __future__ import annotations

import asyncio
import secrets
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from tests.integration.runs.queued_runs import (
    ask,
    complete,
    complete_input,
    create,
    fail,
    queued,
    relay,
    started,
)
from tests.integration.runs.steered_runs import SteeredRuns, step
from tests.support.runs_service import INPUT_FILE, make_due
from tests.support.waiting import wait_until

from runs.domain.activities import RunRef, StepRef
from runs.domain.installed import Installed
from runs.domain.runs import Retry, RunStatus
from runs.domain.tenant_limits import USUAL_RUNS, TenantLimits
from runs.domain.transitions import Transitions
from runs.store import queued_runs, run_transitions, runs, workers
from runs.tenant_limit_cache import TenantLimitCache

if TYPE_CHECKING:
    import asyncpg
    from tests.support.runs_service import RunsService

    from dataplane.tenants import ManagementPool

TWO = TenantLimits(max_runs=2)
NOTHING = Installed(frozenset(), frozenset(), {})


async def test_what_exceeds_the_limit_stays_pending_and_starts_in_order_as_others_end(
    service: RunsService, database: asyncpg.Connection
) -> None:
    service.limits = TWO
    await service.pipeline()
    created = await create(service, 6)
    assert await queued(service, created) == created[2:]
    assert await started(service, created) == created[:2]
    waiting = "SELECT count(*) FROM outbox WHERE run_id = ANY($1::uuid[])"
    assert await database.fetchval(waiting, created[2:]) == 0

    assert await relay(service).deliver("acme") == timedelta(seconds=0.5)
    assert await started(service, created) == created[:2]
    await complete(service, created[0])
    await relay(service).deliver("acme")
    assert await started(service, created) == created[:3]
    await complete(service, created[1])
    await fail(service, created[2])
    await relay(service).deliver("acme")
    assert await started(service, created) == created[:5]
    assert await queued(service, created) == created[5:]
    for run_id in created[3:5]:
        await complete(service, run_id)
    assert await relay(service).deliver("acme") is None
    assert await started(service, created) == created


async def test_a_run_does_not_overtake_those_that_wait(
    service: RunsService, database: asyncpg.Connection
) -> None:
    service.limits = TWO
    await service.pipeline()
    first, second, third = await create(service, 3)
    await complete(service, first)

    last = await service.run()

    assert await queued(service, [second, third, last.run_id]) == [third, last.run_id]


async def test_held_and_paused_runs_and_those_that_wait_for_people_leave_room(
    service: RunsService, database: asyncpg.Connection
) -> None:
    service.limits = TenantLimits(max_runs=1)
    await service.pipeline()
    held = await service.run(hold=True)
    paused = await create(service, 1)
    await service.steering.pause("acme", paused[0])
    in_question = await create(service, 1)
    await ask(database, in_question[0])
    last = await create(service, 2)

    assert await queued(service, [held.run_id, *paused, *in_question, *last]) == last[1:]
    resumed = await service.steering.resume("acme", paused[0])
    assert (resumed.status, resumed.queued) == (RunStatus.PENDING, True)


@pytest.mark.parametrize("graph", ["", "researcher"], ids=["pipeline", "graph"])
async def test_a_run_that_waits_for_a_person_and_does_another_step_takes_its_room(
    service: RunsService, database: asyncpg.Connection, graph: str
) -> None:
    service.limits = TenantLimits(max_runs=1)
    await service.pipeline()
    (in_question,) = await create(service, 1)
    await ask(database, in_question)
    beside = Transitions(input=INPUT_FILE, begun=(StepRef("acme", in_question, 1, "copy"),))
    await service.journal.advance(RunRef("acme", in_question, 1), beside)
    # of a graph it may be the node that asks
    await database.execute(
        "UPDATE pipelines SET code_needs = jsonb_set(code_needs, '{graph}', to_jsonb($1::text))",
        graph,
    )

    async with service.tenants.connection("acme") as connection:
        sql = f"WITH {queued_runs.turn('$1', '$2')} SELECT waits FROM turn"
        waits = await connection.fetchval(sql, "", 1)
    assert waits == (not graph)


async def test_runs_that_go_on_wait_too_and_go_before_younger_ones(
    service: RunsService, database: asyncpg.Connection
) -> None:
    service.limits = TenantLimits(max_runs=1)
    await service.pipeline()
    (failed,) = await create(service, 1)
    await complete_input(service, failed)
    await fail(service, failed)
    running, younger = await create(service, 2)

    retried = await service.steering.retry("acme", failed, Retry(secrets.token_hex(8)))
    assert (retried.status, retried.queued) == (RunStatus.RUNNING, True)
    await complete(service, running)
    await relay(service).deliver("acme")

    assert await queued(service, [failed, younger]) == [younger]
    state = await service.launcher.describe("acme", failed)
    assert state is not None
    assert state.epoch == 2


@pytest.mark.parametrize("retried", [False, True], ids=["pending", "retried"])
async def test_a_run_that_waits_is_paused_and_cancelled_at_once(
    service: RunsService, database: asyncpg.Connection, *, retried: bool
) -> None:
    service.limits = TenantLimits(max_runs=1)
    await service.pipeline()
    (waiting,) = await create(service, 1)
    if retried:
        await complete_input(service, waiting)
        await fail(service, waiting)
    (running,) = await create(service, 1)
    if retried:
        await service.steering.retry("acme", waiting, Retry(secrets.token_hex(8)))
    else:
        running, waiting = waiting, running
    assert await queued(service, [running, waiting]) == [waiting]

    paused = await service.steering.pause("acme", waiting)
    assert (paused.status, paused.queued) == (RunStatus.PAUSED, False)
    resumed = await service.steering.resume("acme", waiting)
    assert resumed.queued
    cancelled = await service.steering.cancel("acme", waiting)
    assert (cancelled.status, cancelled.queued) == (RunStatus.CANCELLED, False)
    await complete(service, running)
    assert await relay(service).deliver("acme") is None


async def test_runs_of_a_pipelines_own_task_queue_wait_for_those_alone(
    service: RunsService, database: asyncpg.Connection
) -> None:
    service.limits = TenantLimits(max_runs=1)
    await service.pipeline()
    own = await create(service, 2)
    await database.execute("UPDATE runs SET task_queue = 'own'")
    common = await create(service, 2)
    assert await queued(service, [*own, *common]) == [own[1], common[1]]

    await complete(service, common[0])
    await relay(service).deliver("acme")

    assert await queued(service, [*own, *common]) == [own[1]]


async def test_a_relay_that_was_killed_leaves_no_room_taken(
    service: RunsService, database: asyncpg.Connection, registry: asyncpg.Connection
) -> None:
    service.limits = TenantLimits(max_runs=1)
    await service.pipeline()
    first, second = await create(service, 2)
    await complete(service, first)
    async with service.tenants.transaction("acme") as connection:
        assert not await queued_runs.admit(connection, "", 1)
    # it dies here: the message is in the outbox
    (third,) = await create(service, 1)
    await make_due(database, registry)
    await service.relay(service.launcher, timedelta(seconds=15)).poll()

    assert await started(service, [second, third]) == [second]
    assert await queued(service, [second, third]) == [third]


async def test_a_run_that_waits_is_not_taken_for_one_that_does_not_move(
    service: RunsService, database: asyncpg.Connection, registry: asyncpg.Connection
) -> None:
    service.limits = TenantLimits(max_runs=1)
    await service.pipeline()
    _, waiting = await create(service, 2)
    await make_due(database, registry)
    await service.relay(service.launcher, timedelta(0)).poll()

    run = await service.find(waiting)
    assert (run.queued, run.stuck_reason) == (True, "")
    assert await started(service, [waiting]) == []


async def test_a_held_run_that_is_started_waits_where_there_is_no_room(
    service: RunsService,
) -> None:
    service.limits = TenantLimits(max_runs=1)
    await service.pipeline()
    held = await service.run(hold=True)
    await create(service, 1)
    async with service.tenants.transaction("acme") as connection:
        released = await run_transitions.release(connection, held.run_id, INPUT_FILE, "", 1)
        found = await runs.find(connection, held.run_id)

    assert released is not None
    assert released.queued
    assert found == released


async def test_the_limit_is_what_the_workers_of_a_task_queue_do_at_once(
    management: ManagementPool, registry: asyncpg.Connection
) -> None:
    async with management.connection() as connection:
        for name, queue, steps in (("a", "", 100), ("b", "", 60), ("c", "own", 5), ("d", "", 9)):
            await workers.put(connection, name, queue, NOTHING, steps, 75)
        for name, queue in (("e", ""), ("f", "reserved")):
            reserved = Installed(frozenset({"acme", "bolt"}), frozenset(), {})
            await workers.put(connection, name, queue, reserved, 7, 75)
    await registry.execute(
        "UPDATE runs_workers SET seen_at = now() - interval '4 minutes' WHERE worker_id = 'd'"
    )
    cache = TenantLimitCache(management)
    await cache.refresh()

    queues = ("", "own", "reserved", "nobody's")
    found = [[cache.of(one).runs_at_once(queue) for queue in queues] for one in ("acme", "crag")]
    await registry.execute("DELETE FROM runs_workers")
    assert found == [[167, 5, 7, USUAL_RUNS], [160, 5, USUAL_RUNS, USUAL_RUNS]]
    assert TenantLimits(max_runs=3, steps_at_once={"": 160}).runs_at_once("") == 3


async def test_a_tenant_alone_has_as_many_under_way_as_there_may_be_and_no_more(
    steered: SteeredRuns, database: asyncpg.Connection, registry: asyncpg.Connection
) -> None:
    service, steered.waiting = steered.service, {"a"}
    service.limits = TenantLimits(max_runs=3)
    await service.pipeline(step("a"))
    created = await create(service, 10)
    relays = [service.relay(service.launcher, timedelta(seconds=15)) for _ in range(2)]

    async def under_way() -> int:
        """Let relays look at the same moment; return how many runs are under way."""
        await make_due(database, registry)
        await asyncio.gather(*(one.poll() for one in relays))
        return await database.fetchval(
            "SELECT count(*) FROM runs WHERE status IN ('pending', 'running') AND NOT queued"
        )

    assert await under_way() == 3
    steered.may_end.set()
    most: list[int] = []

    async def over() -> bool:
        most.append(await under_way())
        return not await database.fetchval("SELECT count(*) FROM runs WHERE ended_at IS NULL")

    await wait_until(over, seconds=60)
    assert max(most) <= 3
    assert {(await service.find(run_id)).status for run_id in created} == {RunStatus.COMPLETED}
