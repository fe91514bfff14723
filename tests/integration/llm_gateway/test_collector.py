"""Calls that a dead process left behind, and nobody asks for again: the ledger does not wait."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import pytest
from tests.support.gateway_client import Refused
from tests.support.waiting import wait_until

from nagaya.llm_gateway.v1 import call_pb2

if TYPE_CHECKING:
    import asyncpg
    from tests.support.gateway_client import GatewayClient
    from tests.support.gateway_stack import GatewayStack

RESERVED, DISPATCHED, SETTLED, FAILED, UNKNOWN = (
    call_pb2.CALL_STATE_RESERVED,
    call_pb2.CALL_STATE_DISPATCHED,
    call_pb2.CALL_STATE_SETTLED,
    call_pb2.CALL_STATE_FAILED,
    call_pb2.CALL_STATE_UNKNOWN,
)
LEASE = 2.0
LEFT_BEHIND = 4 * LEASE  # its own length, and three times as long
NOTICED = 40.0
WORK = "SELECT due_at - now() FROM llm_gateway_pending_work WHERE tenant_id = $1"
DAY = 86_400


def states(call: call_pb2.Call) -> list[int]:
    return [attempt.state for attempt in call.attempts]


def is_ended(call: call_pb2.Call) -> bool:
    return call.HasField("end_time")


async def held(
    stack: GatewayStack, client: GatewayClient, call: int = 1
) -> tuple[asyncio.Task[object], str]:
    """Ask, and return when the stub holds the request; with the rule that holds it."""
    rule = stack.stub.script(client.word, {"kind": "hold"}, nth=1)
    asked = asyncio.create_task(client.generate(client.spec(call=call)))
    await stack.stub.wait_until_held(rule, asked)
    return asked, rule


async def visit(management: asyncpg.Connection, tenant_id: str = "acme") -> float:
    """Have a tenant visited now; return in how many seconds it is due again."""
    await management.execute(
        "UPDATE llm_gateway_pending_work SET due_at = now() WHERE tenant_id = $1", tenant_id
    )

    async def due() -> float | None:
        seconds = (await management.fetchval(WORK, tenant_id)).total_seconds()
        # Neither waiting nor being visited: a visit's lease of 600 s may be younger than our now().
        return seconds if seconds > 0 and not 500 < seconds <= 601 else None

    return await wait_until(due)


async def test_a_call_that_nobody_asks_for_again_is_unknown_some_time_after_its_process_died(
    stack: GatewayStack, client: GatewayClient, victim: GatewayClient
) -> None:
    asked, _ = await held(stack, victim)
    victim.gateway.kill()
    with pytest.raises(Refused):
        await asked

    call = await client.wait_for_call(is_ended, seconds=NOTICED)

    assert (call.state, states(call)) == (UNKNOWN, [UNKNOWN])
    (attempt,) = call.attempts
    assert (attempt.estimated, attempt.HasField("end_time")) == (True, True)
    assert attempt.error == "the process that sent it died before its reply was stored"
    assert call.cost_micro_usd == attempt.cost_micro_usd > 0
    with pytest.raises(Refused) as refused:
        await client.generate()
    assert refused.value.reason == "CALL_OUTCOME_UNKNOWN"
    assert len(client.provider_calls()) == 1


async def test_a_call_that_waited_between_two_attempts_has_failed(
    stack: GatewayStack, client: GatewayClient, victim: GatewayClient
) -> None:
    status = {"kind": "status", "status": 429, "headers": {"retry-after": "8"}}
    stack.stub.script(client.word, status, times=1)
    asked = asyncio.create_task(victim.generate())
    await client.wait_for_call(lambda call: call.state == RESERVED, asked)
    victim.gateway.kill()
    with pytest.raises(Refused):
        await asked

    call = await client.wait_for_call(is_ended, seconds=NOTICED)

    assert (call.state, states(call)) == (FAILED, [FAILED])
    assert states((await client.generate()).call) == [FAILED, SETTLED]


async def test_a_call_that_a_living_process_works_on_is_left_to_it(
    stack: GatewayStack, client: GatewayClient, management: asyncpg.Connection
) -> None:
    asked, rule = await held(stack, client)
    async with asyncio.timeout(60):  # for longer than a dead process's call would be left
        while (await age_of(client)) < LEFT_BEHIND + LEASE:
            await visit(management)
            assert (await client.get_call()).state == DISPATCHED
    stack.stub.release(rule)
    await asked

    assert states(await client.get_call()) == [SETTLED]
    assert len(client.provider_calls()) == 1


async def test_a_process_that_stands_still_for_two_leases_keeps_its_call(
    stack: GatewayStack,
    client: GatewayClient,
    victim: GatewayClient,
    management: asyncpg.Connection,
) -> None:
    asked, rule = await held(stack, victim)
    os.kill(victim.gateway.pid, signal.SIGSTOP)
    frozen_at = await age_of(client)
    while (await age_of(client)) < frozen_at + 2 * LEASE:
        await visit(management)
        assert (await client.get_call()).state == DISPATCHED
    os.kill(victim.gateway.pid, signal.SIGCONT)
    stack.stub.release(rule)
    await asked

    assert states(await client.get_call()) == [SETTLED]
    assert len(client.provider_calls()) == 1


async def test_a_process_that_wakes_up_after_its_call_was_given_up_settles_it(
    stack: GatewayStack, client: GatewayClient, victim: GatewayClient
) -> None:
    asked, rule = await held(stack, victim)
    os.kill(victim.gateway.pid, signal.SIGSTOP)
    given_up = await client.wait_for_call(is_ended, seconds=NOTICED)
    stack.stub.release(rule)
    os.kill(victim.gateway.pid, signal.SIGCONT)
    await asked
    call = await client.get_call()

    assert (given_up.state, states(given_up)) == (UNKNOWN, [UNKNOWN])
    assert (call.state, states(call)) == (SETTLED, [SETTLED])
    assert not call.attempts[0].estimated
    assert len(client.provider_calls()) == 1


async def test_a_tenant_is_visited_daily_once_nothing_of_it_is_open_or_about_to_be(
    stack: GatewayStack, client: GatewayClient, management: asyncpg.Connection
) -> None:
    other = await client.for_tenant("globex")
    await other.generate()
    noted_just_now = await visit(management, "globex")
    asked, rule = await held(stack, other, call=2)
    with_a_call = await visit(management, "globex")
    stack.stub.release(rule)
    await asked
    await management.execute(
        "UPDATE llm_gateway_pending_work SET noted_at = noted_at - interval '1 hour'"
        " WHERE tenant_id = 'globex'"
    )
    at_rest = await visit(management, "globex")

    assert LEFT_BEHIND < noted_just_now <= 120
    assert with_a_call <= LEFT_BEHIND
    assert DAY - 60 < at_rest <= DAY


async def test_no_call_waits_long_for_its_entry_in_the_pending_work_of_the_collector(
    victim: GatewayClient, management: asyncpg.Connection
) -> None:
    async with management.transaction():
        await management.execute("LOCK TABLE llm_gateway_pending_work")
        done = await victim.generate(seconds=10)

    assert done.call.state == SETTLED
    assert len(victim.provider_calls()) == 1


async def age_of(client: GatewayClient) -> float:
    """Return for how many seconds the first call has been in the ledger, by its own clock."""
    age = await client.database.fetchval(
        "SELECT clock_timestamp() - created_at FROM llm_calls WHERE run_id = $1::text::uuid",
        client.run_id,
    )
    return age.total_seconds()
