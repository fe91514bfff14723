"""Replies that are whole while the artifacts service is away: the tenant's database keeps them.

The stub's count says what was paid, the tenant's database what became of it.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from typing import TYPE_CHECKING

import pytest
from tests.integration.llm_gateway.asking import REDO, Asking, Refused
from tests.integration.llm_gateway.house import running
from tests.integration.llm_gateway.keeping import (
    FILES,
    KEPT,
    SETTLED,
    artifacts_away,
    check,
    held,
    killed_with_a_kept_reply,
    refused,
    until_kept,
    when_back,
)

from nagaya.llm_gateway.v1 import call_pb2
from nagaya.tenant.v1 import tenant_service_pb2, tenant_service_pb2_grpc

if TYPE_CHECKING:
    from tests.integration.llm_gateway.house import House

FAILED = call_pb2.CALL_STATE_FAILED
NOTICED = 40.0


async def test_a_kept_reply_outlives_kill_9_and_answers_who_asks_again(
    house: House, asking: Asking, victim: Asking
) -> None:
    await killed_with_a_kept_reply(house, victim)

    again = await when_back(asking)

    assert again.replayed
    await check(asking, [again.call])


async def test_a_kept_reply_settles_its_call_though_nobody_asks(
    house: House, asking: Asking, victim: Asking
) -> None:
    await killed_with_a_kept_reply(house, victim)

    call = await asking.until(lambda call: call.HasField("end_time"), NOTICED)

    await check(asking, [call])


async def test_a_kept_reply_waits_for_the_artifacts_service_and_nothing_is_sent(
    house: House, asking: Asking, victim: Asking
) -> None:
    asked, rule = await held(house, victim)
    async with artifacts_away(house):
        house.stub.release(rule)
        await until_kept(victim)
        victim.gateway.kill()
        await refused(asked)
        async with asyncio.timeout(20):
            while (reason := (await asking.refusal(asking.spec())).reason) == "CALL_IN_FLIGHT":
                pass
        sent = len(asking.sent())

    again = await when_back(asking, unknown_policy=REDO)

    assert (reason, sent) == ("PEER_UNAVAILABLE", 1)
    await check(asking, [again.call])


async def test_a_process_stores_what_it_kept_when_the_artifacts_service_is_back(
    house: House, asking: Asking
) -> None:
    asked, rule = await held(house, asking)
    async with artifacts_away(house):
        house.stub.release(rule)
        await until_kept(asking)

    await asyncio.gather(*asked)

    await check(asking, [await asking.call()])


async def test_two_processes_that_find_a_kept_reply_settle_it_once(
    house: House, asking: Asking, victim: Asking
) -> None:
    await killed_with_a_kept_reply(house, victim)

    with running(house.gateway("second")) as gateway:
        second = await asking.through(gateway)
        answers = await asyncio.gather(*map(when_back, (asking, second) * 4))

    assert len({answer.call.output_digest for answer in answers}) == 1
    await check(asking, [answers[0].call])


@pytest.mark.parametrize("asks", [True, False], ids=["asked again", "nobody asks"])
async def test_a_reply_kept_after_its_call_was_given_up_settles_it(
    house: House, asking: Asking, victim: Asking, *, asks: bool
) -> None:
    asked, rule = await held(house, victim)
    os.kill(victim.gateway.pid, signal.SIGSTOP)
    reason = (await asking.refusal(asking.spec())).reason
    async with artifacts_away(house):
        house.stub.release(rule)
        os.kill(victim.gateway.pid, signal.SIGCONT)
        await until_kept(asking)
        victim.gateway.kill()
    await refused(asked)

    if asks:
        await when_back(asking)
    call = await asking.until(lambda call: call.state == SETTLED, NOTICED)

    assert reason == "CALL_OUTCOME_UNKNOWN"
    await check(asking, [call])


async def test_of_two_replies_to_one_call_one_counts_and_both_are_booked(
    house: House, asking: Asking, victim: Asking
) -> None:
    asked, first = await held(house, victim, policy=REDO)
    os.kill(victim.gateway.pid, signal.SIGSTOP)
    redone, second = await held(house, asking, policy=REDO)
    async with artifacts_away(house):
        house.stub.release(first)
        os.kill(victim.gateway.pid, signal.SIGCONT)
        await until_kept(asking)
        victim.gateway.kill()
        house.stub.release(second)
        await asking.until(lambda call: call.attempts[1].provider_request_id != "")
    await refused(asked)
    await asyncio.gather(*redone)

    call = await asking.call()

    assert call.state == SETTLED
    assert sorted(attempt.state for attempt in call.attempts) == sorted([SETTLED, FAILED])
    assert [attempt.estimated for attempt in call.attempts] == [False, False]
    told = [attempt.provider_request_id for attempt in call.attempts]
    assert told == [sent["request_id"] for sent in asking.sent()]
    assert call.cost_micro_usd == sum(attempt.cost_micro_usd for attempt in call.attempts)
    assert await asking.database.fetchval(FILES, asking.run_id) == 1
    assert await asking.database.fetchval(KEPT, asking.run_id) == 0


async def test_a_kept_reply_gives_way_to_a_file_that_lies_in_its_place(
    house: House, asking: Asking, victim: Asking
) -> None:
    asked, rule = await held(house, victim)
    await asking.files.write(
        b"{}", step="draft", name="artifacts/0-1/call-1.json", writer="llm-gateway"
    )
    async with artifacts_away(house):
        house.stub.release(rule)
        await until_kept(victim)
        victim.gateway.kill()
    await refused(asked)

    with pytest.raises(Refused) as told:
        await when_back(asking)
    call = await asking.until(lambda call: call.HasField("end_time"), NOTICED)

    assert (told.value.reason, told.value.metadata["final"]) == ("REPLY_INVALID", "true")
    assert (call.state, [attempt.state for attempt in call.attempts]) == (FAILED, [FAILED])
    assert not call.attempts[0].estimated
    assert await asking.database.fetchval(KEPT, asking.run_id) == 0
    assert len(asking.sent()) == 1


async def test_a_kept_reply_is_there_when_its_suspended_tenant_is_resumed(house: House) -> None:
    tenant_id = f"kept-{secrets.token_hex(4)}"
    async with house.person(house.tenant) as channel:
        tenants = tenant_service_pb2_grpc.TenantServiceStub(channel)
        created = await tenants.CreateTenant(
            tenant_service_pb2.CreateTenantRequest(
                tenant_id=tenant_id, request_id=tenant_id, name=tenant_id
            )
        )
        house.databases[tenant_id] = created.tenant.database
        with running(house.gateway("suspended")) as gateway:
            asking = await Asking.of(house, gateway, tenant_id)
            asked, rule = await held(house, asking)
            async with artifacts_away(house):
                house.stub.release(rule)
                await until_kept(asking)
                await tenants.SuspendTenant(
                    tenant_service_pb2.SuspendTenantRequest(tenant_id=tenant_id)
                )
                await asyncio.to_thread(gateway.stop)
            await refused(asked)
            await tenants.ResumeTenant(tenant_service_pb2.ResumeTenantRequest(tenant_id=tenant_id))
            gateway.start()

            again = await when_back(asking)

            await check(asking, [again.call])
            await asking.close()


async def test_a_tenant_without_the_table_is_served_as_before(
    house: House, asking: Asking, victim: Asking
) -> None:
    asked, rule = await held(house, victim)
    await asking.database.execute("ALTER TABLE llm_replies RENAME TO llm_replies_to_come")
    try:
        async with artifacts_away(house):
            house.stub.release(rule)
            waits = "storing a reply must wait"
            async with asyncio.timeout(20):
                while waits not in victim.gateway.log.read_text():  # noqa: ASYNC110 - another process's log
                    await asyncio.sleep(0.05)
        await asyncio.gather(*asked)
        second = await asking.ask(asking.spec(call=2))
    finally:
        await asking.database.execute("ALTER TABLE llm_replies_to_come RENAME TO llm_replies")

    await check(asking, [await asking.call(), second.call])
