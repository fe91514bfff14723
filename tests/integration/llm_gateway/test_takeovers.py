"""A process loses its lease, another takes its call over, the first one wakes up: nothing is sent
that may have been paid for, and nothing that was stored is lost.
"""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from tests.integration.llm_gateway.stored_replies import LOCK, WAITING, before_the_migration, counts
from tests.support.gateway_client import FAIL, REDO, Refused
from tests.support.processes import running
from tests.support.waiting import fewer_run, wait_until

from nagaya.llm_gateway.v1 import call_pb2

if TYPE_CHECKING:
    from tests.support.gateway_client import GatewayClient
    from tests.support.gateway_stack import GatewayStack

SETTLED, FAILED, UNKNOWN = (
    call_pb2.CALL_STATE_SETTLED,
    call_pb2.CALL_STATE_FAILED,
    call_pb2.CALL_STATE_UNKNOWN,
)
REFUSED = {"kind": "status", "status": 400}
LEASE_OVER = """
    SELECT lease_expires < clock_timestamp() FROM llm_calls WHERE run_id = $1::text::uuid
"""


def freeze(client: GatewayClient) -> None:
    os.kill(client.gateway.pid, signal.SIGSTOP)


def wake(client: GatewayClient) -> None:
    os.kill(client.gateway.pid, signal.SIGCONT)


def states(call: call_pb2.Call) -> list[int]:
    return [attempt.state for attempt in call.attempts]


async def frozen_in_flight(
    stack: GatewayStack, client: GatewayClient, victim: GatewayClient, policy: int = FAIL
) -> tuple[asyncio.Task[Any], str]:
    """Freeze a process whose request the stub holds; return its client, and the rule that holds."""
    rule = stack.stub.script(client.word, {"kind": "hold"}, nth=1)
    asked = asyncio.create_task(victim.generate(victim.spec(unknown_policy=policy)))
    await stack.stub.wait_until_held(rule, asked)
    freeze(victim)
    return asked, rule


async def reason_of(client: GatewayClient, policy: int) -> str:
    with pytest.raises(Refused) as refused:
        await client.generate(client.spec(unknown_policy=policy))
    return refused.value.reason


async def test_a_process_frozen_between_two_attempts_does_not_send_what_another_has_sent(
    stack: GatewayStack, client: GatewayClient, victim: GatewayClient
) -> None:
    busy = {"kind": "status", "status": 429, "headers": {"retry-after": "3"}}
    stack.stub.script(client.word, busy, nth=1)
    stack.stub.script(client.word, {"kind": "drop"}, nth=2)
    asked = asyncio.create_task(victim.generate())
    await client.wait_for_call(lambda call: call.state == call_pb2.CALL_STATE_RESERVED, asked)
    freeze(victim)

    reason = await reason_of(client, FAIL)
    wake(victim)
    with pytest.raises(Refused) as refused:
        await asked

    assert reason == refused.value.reason == "CALL_OUTCOME_UNKNOWN"
    assert states(await client.get_call()) == [FAILED, UNKNOWN]
    assert len(client.provider_calls()) == 2


async def test_a_late_reply_settles_a_call_that_another_process_failed_at(
    stack: GatewayStack, client: GatewayClient, victim: GatewayClient
) -> None:
    asked, rule = await frozen_in_flight(stack, client, victim)
    stack.stub.script(client.word, REFUSED, nth=1)
    reason = await reason_of(client, REDO)
    stack.stub.release(rule)
    wake(victim)

    late = await asked

    assert reason == "PROVIDER_REFUSED"
    assert late.call.state == SETTLED
    assert states(late.call) == [SETTLED, FAILED]
    assert len(client.provider_calls()) == 2


async def test_a_late_failure_does_not_send_under_the_number_of_anothers_attempt(
    stack: GatewayStack, client: GatewayClient, victim: GatewayClient
) -> None:
    late = {"kind": "status", "status": 503, "delay_ms": 8_000}
    stack.stub.script(client.word, late, nth=1)
    stack.stub.script(client.word, {"kind": "drop"}, nth=[2, 3])
    asked = asyncio.create_task(victim.generate())
    await wait_until(lambda: asyncio.to_thread(client.provider_calls), unless=fewer_run((asked,)))
    freeze(victim)

    reason = await reason_of(client, REDO)
    wake(victim)
    with pytest.raises(Refused) as refused:
        await asked
    call = await client.get_call()

    assert (reason, refused.value.reason) == ("PROVIDER_UNAVAILABLE", "CALL_OUTCOME_UNKNOWN")
    assert states(call) == [FAILED, UNKNOWN, UNKNOWN]
    assert call.state == UNKNOWN
    assert (
        len({sent["idempotency"] for sent in client.provider_calls()})
        == len(client.provider_calls())
        == 3
    )


@pytest.mark.parametrize(
    ("policy", "action"), [(FAIL, None), (REDO, REFUSED)], ids=["fail", "redo"]
)
async def test_a_reply_stored_after_its_call_was_given_up_is_found_before_anything_is_sent(
    stack: GatewayStack,
    client: GatewayClient,
    victim: GatewayClient,
    policy: int,
    action: dict[str, Any] | None,
) -> None:
    asked, rule = await frozen_in_flight(stack, client, victim)
    if action is not None:
        stack.stub.script(client.word, action, nth=1)
    await reason_of(client, policy)
    given_up = await client.get_call()
    sent = len(client.provider_calls())
    async with before_the_migration(client), client.database.transaction():
        await client.database.execute(LOCK, client.run_id)  # so that settling must wait
        stack.stub.release(rule)
        wake(victim)
        await client.files.wait_until_stored(asked)
        victim.gateway.kill()
    with pytest.raises(Refused):
        await asked

    again = await client.generate(client.spec(unknown_policy=FAIL))

    assert given_up.state == UNKNOWN
    assert again.replayed
    assert again.call.state == SETTLED
    assert states(again.call)[0] == SETTLED
    assert not again.call.attempts[0].estimated
    assert len(client.provider_calls()) == sent


async def test_of_two_replies_to_one_call_the_first_counts_and_both_are_booked(
    stack: GatewayStack, client: GatewayClient, victim: GatewayClient
) -> None:
    asked, first = await frozen_in_flight(stack, client, victim, REDO)
    second = stack.stub.script(client.word, {"kind": "hold"}, nth=1)
    redone = asyncio.create_task(client.generate(client.spec(unknown_policy=REDO)))
    await stack.stub.wait_until_held(second, redone)
    stack.stub.release(first)
    wake(victim)
    early = await asked
    stack.stub.release(second)
    late = await redone

    call = await client.get_call()

    assert (states(early.call)[0], states(call)) == (SETTLED, [SETTLED, FAILED])
    assert early.call.output_digest == late.call.output_digest == call.output_digest
    assert [attempt.estimated for attempt in call.attempts] == [False, False]
    request_ids = [attempt.provider_request_id for attempt in call.attempts]
    assert request_ids == [sent["request_id"] for sent in client.provider_calls()]
    assert call.cost_micro_usd == sum(attempt.cost_micro_usd for attempt in call.attempts)
    assert await counts(client) == (1, 0, 1, 0)


async def test_an_attempt_whose_process_died_is_unknown_when_another_reply_settles_the_call(
    stack: GatewayStack, client: GatewayClient, victim: GatewayClient
) -> None:
    asked, rule = await frozen_in_flight(stack, client, victim)
    second = stack.stub.script(client.word, {"kind": "hold"}, nth=1)
    with running(stack.gateway("successor")) as gateway:
        successor = await client.via(gateway)
        redone = asyncio.create_task(successor.generate(successor.spec(unknown_policy=REDO)))
        await stack.stub.wait_until_held(second, redone)
        stack.stub.release(rule)
        wake(victim)
        await client.wait_for_call(lambda call: states(call)[:1] == [SETTLED])
        gateway.kill()
    with pytest.raises(Refused):
        await redone

    late = await asked

    assert late.call.state == SETTLED
    assert states(late.call) == [SETTLED, UNKNOWN]
    assert late.call.attempts[1].HasField("end_time")
    assert len(client.provider_calls()) == 2


async def test_a_call_costs_what_its_attempts_cost_though_one_was_booked_at_the_last_moment(
    stack: GatewayStack, client: GatewayClient
) -> None:
    stack.stub.script(client.word, {"kind": "status", "status": 503}, nth=1)
    rule = stack.stub.script(client.word, {"kind": "hold"}, nth=2)
    asked = asyncio.create_task(client.generate())
    await stack.stub.wait_until_held(rule, asked)
    async with client.database.transaction():  # as a process does that wakes up late
        await client.database.execute(LOCK, client.run_id)
        stack.stub.release(rule)
        await wait_until(lambda: client.database.fetchval(WAITING), unless=fewer_run((asked,)))
        await client.database.execute(
            """
            UPDATE llm_call_attempts SET cost_micro_usd = 1000
             WHERE attempt = 1
               AND call_id = (SELECT id FROM llm_calls WHERE run_id = $1::text::uuid)
            """,
            client.run_id,
        )

    done = await asked

    assert done.call.cost_micro_usd == sum(a.cost_micro_usd for a in done.call.attempts)
    assert done.call.attempts[0].cost_micro_usd == 1000


async def frozen_before_sending(client: GatewayClient, victim: GatewayClient) -> asyncio.Task[Any]:
    """Freeze a process that waits for its reservation, which then commits; return its client."""
    async with client.database.transaction():
        await client.database.execute(  # so that reserving must wait
            "SELECT FROM runs WHERE id = $1::text::uuid FOR UPDATE", client.run_id
        )
        asked = asyncio.create_task(victim.generate(victim.spec(unknown_policy=REDO)))
        await wait_until(lambda: victim.database.fetchval(WAITING), unless=fewer_run((asked,)))
        freeze(victim)
    await client.wait_for_call(lambda call: call.state == call_pb2.CALL_STATE_DISPATCHED, asked)
    return asked


async def test_a_process_frozen_before_it_sends_leaves_the_call_to_who_took_it_over(
    client: GatewayClient, victim: GatewayClient
) -> None:
    asked = await frozen_before_sending(client, victim)
    redone = await client.generate(client.spec(unknown_policy=REDO))
    wake(victim)

    late = await asked
    call = await client.get_call()

    assert late.call.output_digest == redone.call.output_digest
    assert states(call) == [FAILED, SETTLED]
    assert len(client.provider_calls()) == 1
    assert call.cost_micro_usd == call.attempts[1].cost_micro_usd


async def test_a_process_frozen_before_it_sends_sends_once_where_nobody_took_the_call_over(
    client: GatewayClient, victim: GatewayClient
) -> None:
    asked = await frozen_before_sending(client, victim)
    await wait_until(lambda: client.database.fetchval(LEASE_OVER, client.run_id))
    wake(victim)

    late = await asked

    assert late.call.state == SETTLED
    assert states(late.call) == [FAILED, SETTLED]
    assert [sent["idempotency"][-2:] for sent in client.provider_calls()] == ["/2"]
