"""Published migrations reach the tenants in waves, and stop where they fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import pytest
from tests.integration.tenant.lacking_tenants import NAMES, counters, execute, lacking
from tests.support.waiting import wait_until

from nagaya.tenant.v1 import rollout_pb2, schema_service_pb2, schema_service_pb2_grpc
from servicekit.errors import AlreadyExists, Conflict, InvalidInput, NotFound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from interceptor.testing import RunningServer
    from nagaya_local.parts.postgres import PostgresServer
    from tenant.composition import Composition
    from tenant.config import Config


@pytest.fixture
async def service(config: Config) -> AsyncIterator[Composition]:
    async with lacking(config) as service:
        yield service


@pytest.fixture
def schema(server: RunningServer) -> schema_service_pb2_grpc.SchemaServiceStub:
    return schema_service_pb2_grpc.SchemaServiceStub(server.channel())


async def poison(postgres: PostgresServer, service: Composition, tenant_id: str) -> None:
    await execute(postgres, service, tenant_id, "INSERT INTO runs (note) VALUES (NULL)")


async def repair(postgres: PostgresServer, service: Composition, tenant_id: str) -> None:
    await execute(postgres, service, tenant_id, "DELETE FROM runs")


async def create(
    schema: schema_service_pb2_grpc.SchemaServiceStub, **fields: object
) -> rollout_pb2.Rollout:
    # Fields of any type, by name: the message refuses what does not fit.
    request = schema_service_pb2.CreateRolloutRequest(request_id="r1", **fields)  # type: ignore[arg-type]
    return (await schema.CreateRollout(request)).rollout


async def ended(
    schema: schema_service_pb2_grpc.SchemaServiceStub, rollout_id: str
) -> rollout_pb2.Rollout:
    """Return a rollout once it runs no longer."""

    async def found() -> rollout_pb2.Rollout | None:
        request = schema_service_pb2.GetRolloutRequest(rollout_id=rollout_id)
        rollout = (await schema.GetRollout(request)).rollout
        return None if rollout.state == rollout_pb2.ROLLOUT_STATE_RUNNING else rollout

    return await wait_until(found, seconds=60)


async def tenants(
    schema: schema_service_pb2_grpc.SchemaServiceStub, rollout_id: str
) -> dict[str, rollout_pb2.RolloutTenant]:
    request = schema_service_pb2.ListRolloutTenantsRequest(rollout_id=rollout_id, page_size=200)
    found = (await schema.ListRolloutTenants(request)).tenants
    return {tenant.tenant_id: tenant for tenant in found}


async def resume(
    schema: schema_service_pb2_grpc.SchemaServiceStub, rollout_id: str, **fields: int
) -> rollout_pb2.Rollout:
    request = schema_service_pb2.ResumeRolloutRequest(rollout_id=rollout_id, **fields)
    return (await schema.ResumeRollout(request)).rollout


async def test_waves_reach_every_tenant_once(
    service: Composition,
    schema: schema_service_pb2_grpc.SchemaServiceStub,
    postgres: PostgresServer,
) -> None:
    assert await counters(postgres, service) == [0] * len(NAMES)  # publishing did nothing

    begun = await create(schema, canary_count=2, wave_percents=[50, 100])
    rollout = await ended(schema, begun.rollout_id)

    assert rollout.state == rollout_pb2.ROLLOUT_STATE_DONE
    assert [(w.number, w.tenant_count, w.done_count) for w in rollout.waves] == [
        (1, 2, 2),
        (2, 4, 4),
        (3, 6, 6),
    ]
    assert {(t.service, t.number) for t in rollout.targets} >= {("runs", 3), ("artifacts", 1)}
    assert await counters(postgres, service) == [1] * len(NAMES)
    found = await tenants(schema, begun.rollout_id)
    assert {name for name, tenant in found.items() if tenant.wave == 1} == {NAMES[0], NAMES[-1]}
    ends = {wave: [t.end_time.ToDatetime() for t in found.values() if t.wave == wave]
            for wave in (1, 2)}  # fmt: skip
    begins = {wave: [t.begin_time.ToDatetime() for t in found.values() if t.wave == wave]
              for wave in (2, 3)}  # fmt: skip
    assert max(ends[1]) <= min(begins[2])
    assert max(ends[2]) <= min(begins[3])
    assert await create(schema, canary_count=2, wave_percents=[50, 100]) == rollout


async def test_a_failure_in_the_canary_stops_it_and_after_repair_it_goes_on(
    service: Composition,
    schema: schema_service_pb2_grpc.SchemaServiceStub,
    postgres: PostgresServer,
) -> None:
    poisoned = [NAMES[1], NAMES[5], NAMES[9]]
    for name in poisoned:
        await poison(postgres, service, name)

    begun = await create(schema, canary_tenant_ids=[NAMES[1], NAMES[2]])
    paused = await ended(schema, begun.rollout_id)

    assert paused.state == rollout_pb2.ROLLOUT_STATE_PAUSED
    assert "1 tenants have failed" in paused.pause_reason
    assert [(w.done_count, w.failed_count) for w in paused.waves] == [(1, 1), (0, 0)]
    found = await tenants(schema, begun.rollout_id)
    assert found[NAMES[1]].failure == "runs: 23502 in 3 file_3"
    assert found[NAMES[5]].state == rollout_pb2.ROLLOUT_TENANT_STATE_PENDING
    assert sorted(map(int, map(str, await counters(postgres, service)))) == [0] * 11 + [1]

    await repair(postgres, service, NAMES[1])
    await resume(schema, begun.rollout_id)
    second = await ended(schema, begun.rollout_id)
    assert second.state == rollout_pb2.ROLLOUT_STATE_PAUSED  # now in the last wave

    for name in poisoned:
        await repair(postgres, service, name)
    await resume(schema, begun.rollout_id)
    assert (await ended(schema, begun.rollout_id)).state == rollout_pb2.ROLLOUT_STATE_DONE
    assert await counters(postgres, service) == [1] * len(NAMES)


async def test_within_the_budget_it_goes_on_without_those_that_fail(
    service: Composition,
    schema: schema_service_pb2_grpc.SchemaServiceStub,
    postgres: PostgresServer,
) -> None:
    for name in (NAMES[0], NAMES[4]):
        await poison(postgres, service, name)

    begun = await create(schema, canary_count=1)
    assert (await ended(schema, begun.rollout_id)).state == rollout_pb2.ROLLOUT_STATE_PAUSED
    await resume(schema, begun.rollout_id, failure_budget=2)
    done = await ended(schema, begun.rollout_id)

    assert done.state == rollout_pb2.ROLLOUT_STATE_DONE
    assert sum(wave.failed_count for wave in done.waves) == 2
    assert [await counters(postgres, service)] == [
        [0 if name in (NAMES[0], NAMES[4]) else 1 for name in NAMES]
    ]
    with pytest.raises(Conflict) as over:
        await resume(schema, begun.rollout_id)
    assert over.value.reason == "ERROR_REASON_ROLLOUT_ENDED"


async def test_a_paused_rollout_begins_with_no_tenant_until_it_is_resumed(
    service: Composition,
    schema: schema_service_pb2_grpc.SchemaServiceStub,
    postgres: PostgresServer,
) -> None:
    holder = await asyncpg.connect(
        postgres.superuser_url((await service.connections.resolve("runs", NAMES[0])).database)
    )
    await holder.execute("BEGIN; LOCK TABLE counter IN ACCESS SHARE MODE; UPDATE counter SET n = 0")
    begun = await create(schema, canary_tenant_ids=[NAMES[0]], concurrency=1)

    async def is_begun() -> bool:
        found = await tenants(schema, begun.rollout_id)
        return found[NAMES[0]].state == rollout_pb2.ROLLOUT_TENANT_STATE_RUNNING

    await wait_until(is_begun)
    request = schema_service_pb2.PauseRolloutRequest(rollout_id=begun.rollout_id)
    paused = (await schema.PauseRollout(request)).rollout
    assert paused.state == rollout_pb2.ROLLOUT_STATE_PAUSED
    assert paused.pause_reason == "ada has paused the rollout"
    with pytest.raises(Conflict) as unfinished:
        await schema.CreateRollout(schema_service_pb2.CreateRolloutRequest(request_id="r2"))
    assert unfinished.value.reason == "ERROR_REASON_ROLLOUT_UNFINISHED"
    await holder.execute("ROLLBACK")
    await holder.close()

    async def first_is_done() -> bool:  # what was under way is finished
        found = await tenants(schema, begun.rollout_id)
        return found[NAMES[0]].state == rollout_pb2.ROLLOUT_TENANT_STATE_DONE

    await wait_until(first_is_done)
    assert await counters(postgres, service) == [1] + [0] * (len(NAMES) - 1)

    await resume(schema, begun.rollout_id)
    assert (await ended(schema, begun.rollout_id)).state == rollout_pb2.ROLLOUT_STATE_DONE
    assert await counters(postgres, service) == [1] * len(NAMES)


async def test_a_tenant_that_is_suspended_is_skipped_and_catches_up(
    service: Composition,
    schema: schema_service_pb2_grpc.SchemaServiceStub,
    postgres: PostgresServer,
) -> None:
    begun = await create(schema, canary_count=1)
    await service.tenants.suspend(NAMES[7])
    done = await ended(schema, begun.rollout_id)
    assert done.state == rollout_pb2.ROLLOUT_STATE_DONE

    await service.tenants.resume(NAMES[7])

    assert await counters(postgres, service) == [1] * len(NAMES)


async def test_what_cannot_be_rolled_out_so_is_refused_and_leaves_nothing(
    schema: schema_service_pb2_grpc.SchemaServiceStub,
) -> None:
    for fields in (
        {"wave_percents": [50, 10, 100]},
        {"wave_percents": [10, 50]},
        {"canary_tenant_ids": ["nobody"]},
    ):
        with pytest.raises(InvalidInput) as invalid:
            await create(schema, **fields)
        assert invalid.value.reason == "ERROR_REASON_ROLLOUT_INVALID"
    with pytest.raises(NotFound):
        await schema.GetRollout(schema_service_pb2.GetRolloutRequest(rollout_id="r1"))
    listed = await schema.ListRollouts(schema_service_pb2.ListRolloutsRequest())
    assert not listed.rollouts

    await create(schema)
    with pytest.raises(AlreadyExists):
        await create(schema, canary_count=3)
