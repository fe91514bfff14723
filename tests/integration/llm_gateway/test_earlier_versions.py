"""What processes of earlier versions left behind: files, replies that were kept, settled calls."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.integration.llm_gateway.stored_replies import (
    KEPT_TOKENS,
    SETTLED,
    artifacts_away,
    before_the_migration,
    check,
    counts,
    digest,
    held,
    keep,
    killed_with_a_file,
    killed_with_a_kept_reply,
    refused,
)
from tests.support.audit_log import chain
from tests.support.gateway_client import REDO, GatewayClient, Refused
from tests.support.processes import running

from nagaya.llm_gateway.v1 import call_pb2

if TYPE_CHECKING:
    from tests.support.gateway_stack import GatewayStack

FAILED = call_pb2.CALL_STATE_FAILED
NOTICED = 40.0


async def check_kept(client: GatewayClient, call: call_pb2.Call, body: bytes) -> None:
    """The call was paid once, and settled by the reply that was kept."""
    (attempt,) = call.attempts
    assert (call.state, attempt.state, attempt.estimated) == (SETTLED, SETTLED, False)
    assert attempt.provider_request_id == "kept"
    assert call.usage.output_tokens == KEPT_TOKENS
    assert call.output_digest == digest(body)
    assert await client.reply_bytes(call.key) == body
    assert await counts(client) == (1, 0, 1, 0)
    assert len(client.provider_calls()) == 1


async def test_a_kept_reply_answers_who_asks_again(
    stack: GatewayStack, client: GatewayClient, victim: GatewayClient
) -> None:
    body = await killed_with_a_kept_reply(stack, victim)

    again = await client.generate(client.spec(unknown_policy=REDO), include_reply=True)

    assert (again.replayed, again.reply) == (True, body)
    await check_kept(client, again.call, body)


async def test_a_kept_reply_needs_no_artifacts_service(
    stack: GatewayStack, client: GatewayClient, victim: GatewayClient
) -> None:
    async with artifacts_away(stack):
        body = await killed_with_a_kept_reply(stack, victim)
        again = await client.generate(include_reply=True)

    assert again.reply == body
    await check_kept(client, again.call, body)


async def test_a_kept_reply_settles_its_call_though_nobody_asks(
    stack: GatewayStack, client: GatewayClient, victim: GatewayClient
) -> None:
    body = await killed_with_a_kept_reply(stack, victim)

    call = await client.wait_for_call(lambda call: call.HasField("end_time"), seconds=NOTICED)

    await check_kept(client, call, body)


async def test_a_reply_kept_after_its_call_was_given_up_settles_it(
    stack: GatewayStack, client: GatewayClient, victim: GatewayClient
) -> None:
    asked, _ = await held(stack, victim)
    victim.gateway.kill()
    await refused(asked)
    reason = (await client.generate_refused(client.spec())).reason
    body = await keep(client)

    call = await client.wait_for_call(lambda call: call.state == SETTLED, seconds=NOTICED)

    assert reason == "CALL_OUTCOME_UNKNOWN"
    await check_kept(client, call, body)


async def test_two_processes_that_find_a_kept_reply_settle_it_once(
    stack: GatewayStack, client: GatewayClient, victim: GatewayClient
) -> None:
    body = await killed_with_a_kept_reply(stack, victim)

    with running(stack.gateway("second")) as gateway:
        second = await client.via(gateway)
        answers = await asyncio.gather(*(each.generate() for each in (client, second) * 4))

    assert len({answer.call.output_digest for answer in answers}) == 1
    await check_kept(client, answers[0].call, body)


async def test_a_kept_reply_gives_way_to_the_reply_that_settles_its_call(
    stack: GatewayStack, client: GatewayClient, victim: GatewayClient
) -> None:
    asked, _ = await held(stack, victim, policy=REDO)
    victim.gateway.kill()
    await refused(asked)
    redone, rule = await held(stack, client, policy=REDO)
    await keep(client)
    stack.stub.release(rule)
    await asyncio.gather(*redone)

    call = await client.get_call()

    assert call.state == SETTLED
    assert sorted(attempt.state for attempt in call.attempts) == sorted([SETTLED, FAILED])
    assert call.cost_micro_usd == sum(attempt.cost_micro_usd for attempt in call.attempts)
    assert digest(await client.reply_bytes(call.key)) == call.output_digest
    assert await counts(client) == (1, 0, 1, 0)
    assert len(client.provider_calls()) == 2


async def test_a_stored_file_settles_its_call_for_who_asks_again(
    stack: GatewayStack, client: GatewayClient, victim: GatewayClient
) -> None:
    await killed_with_a_file(stack, victim)

    again = await client.generate(client.spec(unknown_policy=REDO), include_reply=True)

    assert again.replayed
    assert again.reply == await client.reply_bytes(again.call.key)
    await check(client, [again.call], files=1)


async def test_a_stored_file_settles_its_call_though_nobody_asks(
    stack: GatewayStack, client: GatewayClient, victim: GatewayClient
) -> None:
    await killed_with_a_file(stack, victim)

    call = await client.wait_for_call(lambda call: call.HasField("end_time"), seconds=NOTICED)

    await check(client, [call], files=1)
    await chain(client.database)
    entries = await client.database.fetch(
        "SELECT user_id, action FROM audit_logs WHERE resource_id LIKE $1", f"{client.run_id}/%"
    )
    assert [tuple(row) for row in entries] == [("workload:llm-gateway", "call.settle")]


async def test_nothing_is_sent_again_before_it_is_known_that_there_is_no_file(
    stack: GatewayStack, client: GatewayClient, victim: GatewayClient
) -> None:
    await killed_with_a_file(stack, victim)
    async with artifacts_away(stack):
        async with asyncio.timeout(20):
            while (
                reason := (await client.generate_refused(client.spec(unknown_policy=REDO))).reason
            ) == "CALL_IN_FLIGHT":
                pass
        sent = len(client.provider_calls())

    call = await client.wait_for_call(lambda call: call.HasField("end_time"), seconds=NOTICED)

    assert (reason, sent) == ("PEER_UNAVAILABLE", 1)
    await check(client, [call], files=1)


async def test_a_file_that_is_no_reply_lets_nothing_be_sent(
    stack: GatewayStack, client: GatewayClient, victim: GatewayClient
) -> None:
    asked, _ = await held(stack, victim)
    name = "artifacts/0-1/call-1.json"
    await client.files.write(b"{}", step="draft", name=name, writer="llm-gateway")
    victim.gateway.kill()
    await refused(asked)

    with pytest.raises(Refused) as refusal:
        await client.generate(client.spec(unknown_policy=REDO))

    assert (refusal.value.reason, refusal.value.metadata["final"]) == ("REPLY_INVALID", "true")
    assert len(client.provider_calls()) == 1


async def test_a_call_settled_with_a_file_is_replayed_and_read_as_before(
    client: GatewayClient,
) -> None:
    async with before_the_migration(client):
        done = await client.generate(include_reply=True)
    again = await client.generate(include_reply=True)
    texts = [event.delta.text async for event in client.stream()]

    assert done.call.output_path == (
        f"storage/acme/{client.run_id}/draft/artifacts/0-1/call-1.json"
    )
    assert (again.call, again.replayed) == (done.call, True)
    assert done.reply == again.reply == await client.reply_bytes(done.call.key)
    assert "".join(texts) == (await client.reply(done.call))["content"]
    await check(client, [done.call], files=1)


async def test_a_tenant_without_the_table_works_as_before(
    stack: GatewayStack, client: GatewayClient
) -> None:
    asked, rule = await held(stack, client)
    async with before_the_migration(client):
        async with artifacts_away(stack):
            stack.stub.release(rule)
            await client.gateway.wait_until_logged("settling a call must wait", *asked)
        await asyncio.gather(*asked)
        await client.generate(client.spec(call=2))
    await client.generate(client.spec(call=3))

    await check(client, [await client.get_call(n) for n in (1, 2, 3)], files=2)


async def test_nothing_more_is_sent_for_a_key_whose_reply_finds_its_place_taken(
    client: GatewayClient,
) -> None:
    place = {"step": "draft", "name": "artifacts/0-1/call-1.json"}
    await client.files.write(b"{}", writer="llm-gateway", **place)

    async with before_the_migration(client):
        refusals = [await client.generate_refused(client.spec()) for _ in range(2)]
    call = await client.get_call()

    assert {each.reason for each in refusals} == {"REPLY_INVALID"}
    assert "another file lies where it belongs" in str(refusals[1])
    assert call.state == FAILED
    assert [a.state for a in call.attempts] == [FAILED]
    assert len(client.provider_calls()) == 1
