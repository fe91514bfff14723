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
from tests.integration.llm_gateway.kept_replies import (
    FILES,
    KEPT,
    SETTLED,
    artifacts_away,
    check,
    held,
    killed_with_a_kept_reply,
    refused,
    wait_until_kept,
    when_back,
)
from tests.support.gateway_client import REDO, GatewayClient, Refused
from tests.support.processes import running

from nagaya.llm_gateway.v1 import call_pb2
from nagaya.tenant.v1 import tenant_service_pb2, tenant_service_pb2_grpc

if TYPE_CHECKING:
    from tests.support.gateway_stack import GatewayStack

FAILED = call_pb2.CALL_STATE_FAILED
NOTICED = 40.0


async def test_a_kept_reply_outlives_kill_9_and_answers_who_asks_again(
    stack: GatewayStack, client: GatewayClient, victim: GatewayClient
) -> None:
    await killed_with_a_kept_reply(stack, victim)

    again = await when_back(client)

    assert again.replayed
    await check(client, [again.call])


async def test_a_kept_reply_settles_its_call_though_nobody_asks(
    stack: GatewayStack, client: GatewayClient, victim: GatewayClient
) -> None:
    await killed_with_a_kept_reply(stack, victim)

    call = await client.wait_for_call(lambda call: call.HasField("end_time"), seconds=NOTICED)

    await check(client, [call])


async def test_a_kept_reply_waits_for_the_artifacts_service_and_nothing_is_sent(
    stack: GatewayStack, client: GatewayClient, victim: GatewayClient
) -> None:
    asked, rule = await held(stack, victim)
    async with artifacts_away(stack):
        stack.stub.release(rule)
        await wait_until_kept(victim, asked)
        victim.gateway.kill()
        await refused(asked)
        async with asyncio.timeout(20):
            while (
                reason := (await client.generate_refused(client.spec())).reason
            ) == "CALL_IN_FLIGHT":
                pass
        sent = len(client.provider_calls())

    again = await when_back(client, unknown_policy=REDO)

    assert (reason, sent) == ("PEER_UNAVAILABLE", 1)
    await check(client, [again.call])


async def test_a_process_stores_what_it_kept_when_the_artifacts_service_is_back(
    stack: GatewayStack, client: GatewayClient
) -> None:
    asked, rule = await held(stack, client)
    async with artifacts_away(stack):
        stack.stub.release(rule)
        await wait_until_kept(client, asked)

    await asyncio.gather(*asked)

    await check(client, [await client.get_call()])


async def test_two_processes_that_find_a_kept_reply_settle_it_once(
    stack: GatewayStack, client: GatewayClient, victim: GatewayClient
) -> None:
    await killed_with_a_kept_reply(stack, victim)

    with running(stack.gateway("second")) as gateway:
        second = await client.via(gateway)
        answers = await asyncio.gather(*map(when_back, (client, second) * 4))

    assert len({answer.call.output_digest for answer in answers}) == 1
    await check(client, [answers[0].call])


@pytest.mark.parametrize("asks", [True, False], ids=["asked again", "nobody asks"])
async def test_a_reply_kept_after_its_call_was_given_up_settles_it(
    stack: GatewayStack, client: GatewayClient, victim: GatewayClient, *, asks: bool
) -> None:
    asked, rule = await held(stack, victim)
    os.kill(victim.gateway.pid, signal.SIGSTOP)
    reason = (await client.generate_refused(client.spec())).reason
    async with artifacts_away(stack):
        stack.stub.release(rule)
        os.kill(victim.gateway.pid, signal.SIGCONT)
        await wait_until_kept(client, asked)
        victim.gateway.kill()
    await refused(asked)

    if asks:
        await when_back(client)
    call = await client.wait_for_call(lambda call: call.state == SETTLED, seconds=NOTICED)

    assert reason == "CALL_OUTCOME_UNKNOWN"
    await check(client, [call])


async def test_of_two_replies_to_one_call_one_counts_and_both_are_booked(
    stack: GatewayStack, client: GatewayClient, victim: GatewayClient
) -> None:
    asked, first = await held(stack, victim, policy=REDO)
    os.kill(victim.gateway.pid, signal.SIGSTOP)
    redone, second = await held(stack, client, policy=REDO)
    async with artifacts_away(stack):
        stack.stub.release(first)
        os.kill(victim.gateway.pid, signal.SIGCONT)
        await wait_until_kept(client, asked)
        victim.gateway.kill()
        stack.stub.release(second)
        await client.wait_for_call(lambda call: call.attempts[1].provider_request_id != "")
    await refused(asked)
    await asyncio.gather(*redone)

    call = await client.get_call()

    assert call.state == SETTLED
    assert sorted(attempt.state for attempt in call.attempts) == sorted([SETTLED, FAILED])
    assert [attempt.estimated for attempt in call.attempts] == [False, False]
    request_ids = [attempt.provider_request_id for attempt in call.attempts]
    assert request_ids == [sent["request_id"] for sent in client.provider_calls()]
    assert call.cost_micro_usd == sum(attempt.cost_micro_usd for attempt in call.attempts)
    assert await client.database.fetchval(FILES, client.run_id) == 1
    assert await client.database.fetchval(KEPT, client.run_id) == 0


async def test_a_kept_reply_gives_way_to_a_file_that_lies_in_its_place(
    stack: GatewayStack, client: GatewayClient, victim: GatewayClient
) -> None:
    asked, rule = await held(stack, victim)
    await client.files.write(
        b"{}", step="draft", name="artifacts/0-1/call-1.json", writer="llm-gateway"
    )
    async with artifacts_away(stack):
        stack.stub.release(rule)
        await wait_until_kept(victim, asked)
        victim.gateway.kill()
    await refused(asked)

    with pytest.raises(Refused) as refusal:
        await when_back(client)
    call = await client.wait_for_call(lambda call: call.HasField("end_time"), seconds=NOTICED)

    assert (refusal.value.reason, refusal.value.metadata["final"]) == ("REPLY_INVALID", "true")
    assert (call.state, [attempt.state for attempt in call.attempts]) == (FAILED, [FAILED])
    assert not call.attempts[0].estimated
    assert await client.database.fetchval(KEPT, client.run_id) == 0
    assert len(client.provider_calls()) == 1


async def test_a_kept_reply_is_there_when_its_suspended_tenant_is_resumed(
    stack: GatewayStack,
) -> None:
    tenant_id = f"kept-{secrets.token_hex(4)}"
    async with stack.person(stack.tenant) as channel:
        tenants = tenant_service_pb2_grpc.TenantServiceStub(channel)
        created = await tenants.CreateTenant(
            tenant_service_pb2.CreateTenantRequest(
                tenant_id=tenant_id, request_id=tenant_id, name=tenant_id
            )
        )
        stack.databases[tenant_id] = created.tenant.database
        with running(stack.gateway("suspended")) as gateway:
            client = await GatewayClient.open(stack, gateway, tenant_id)
            asked, rule = await held(stack, client)
            async with artifacts_away(stack):
                stack.stub.release(rule)
                await wait_until_kept(client, asked)
                await tenants.SuspendTenant(
                    tenant_service_pb2.SuspendTenantRequest(tenant_id=tenant_id)
                )
                await asyncio.to_thread(gateway.stop)
            await refused(asked)
            await tenants.ResumeTenant(tenant_service_pb2.ResumeTenantRequest(tenant_id=tenant_id))
            gateway.start()

            again = await when_back(client)

            await check(client, [again.call])
            await client.close()


async def test_a_tenant_without_the_table_works_as_before(
    stack: GatewayStack, client: GatewayClient, victim: GatewayClient
) -> None:
    asked, rule = await held(stack, victim)
    await client.database.execute("ALTER TABLE llm_replies RENAME TO llm_replies_to_come")
    try:
        async with artifacts_away(stack):
            stack.stub.release(rule)
            await victim.gateway.wait_until_logged("storing a reply must wait", *asked)
        await asyncio.gather(*asked)
        second = await client.generate(client.spec(call=2))
    finally:
        await client.database.execute("ALTER TABLE llm_replies_to_come RENAME TO llm_replies")

    await check(client, [await client.get_call(), second.call])
