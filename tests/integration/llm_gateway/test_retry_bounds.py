"""A refusal is an answer: whoever asks again before its time gets it again, and nothing is sent."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.gateway_client import FAIL, REDO, Refused
from tests.support.processes import running

from nagaya.llm_gateway.v1 import call_pb2

if TYPE_CHECKING:
    from tests.support.gateway_client import GatewayClient
    from tests.support.gateway_stack import GatewayStack

ALWAYS = {"times": 100}
FAILED, SETTLED, UNKNOWN = (
    call_pb2.CALL_STATE_FAILED,
    call_pb2.CALL_STATE_SETTLED,
    call_pb2.CALL_STATE_UNKNOWN,
)
BAD_GATEWAY: dict[str, Any] = {"kind": "status", "status": 502}
SPEND_LIMIT: dict[str, Any] = {"kind": "spend_limit"}
BROKEN_OFF: dict[str, Any] = {"kind": "drop", "after_bytes": 900}
LIMITED: dict[str, Any] = {"kind": "status", "status": 429, "headers": {"retry-after": "300"}}


def waits(refused: Refused) -> float | None:
    given = refused.metadata.get("retry_after_ms")
    return None if given is None else int(given) / 1000


@pytest.mark.parametrize(
    ("action", "reason", "requests", "longest"),
    [
        (BAD_GATEWAY, "PROVIDER_UNAVAILABLE", 3, 10),
        (BROKEN_OFF, "PROVIDER_UNAVAILABLE", 3, 10),
        (LIMITED, "PROVIDER_LIMITED", 1, 300),
        (SPEND_LIMIT, "PROVIDER_LIMITED", 1, None),
    ],
)
async def test_a_refused_request_that_is_repeated_is_refused_again_and_nothing_is_sent(
    stack: GatewayStack,
    client: GatewayClient,
    action: dict[str, Any],
    reason: str,
    requests: int,
    longest: int | None,
) -> None:
    """As a proxy does that repeats what is UNAVAILABLE twelve times, at two processes."""
    stack.stub.script(client.word, action, **ALWAYS)
    spec = client.spec(unknown_policy=REDO)
    processes = (client, await client.via(stack.gateways[1]))

    refusals = [await processes[n % 2].generate_refused(spec) for n in range(13)]
    call = await client.get_call()

    assert len(client.provider_calls()) == len(call.attempts) == requests
    assert {each.reason for each in refusals} == {reason}
    assert {each.code for each in refusals} == {refusals[0].code}
    assert len({str(each) for each in refusals}) == 1
    hints = [seconds for each in refusals if (seconds := waits(each)) is not None]
    if longest is None:
        assert hints == []
        assert {each.metadata["final"] for each in refusals} == {"true"}
    else:
        assert len(hints) == len(refusals)
        assert hints == sorted(hints, reverse=True)
        assert 0 < hints[-1] <= hints[0] <= longest
    assert call.cost_micro_usd == sum(attempt.cost_micro_usd for attempt in call.attempts)


async def test_repeats_at_the_same_moment_at_several_processes_send_three_requests(
    stack: GatewayStack, client: GatewayClient
) -> None:
    stack.stub.script(client.word, BAD_GATEWAY, **ALWAYS)
    processes = (client, await client.via(stack.gateways[1]))

    refusals = await asyncio.gather(
        *(processes[n % 2].generate_refused(client.spec()) for n in range(12)),
    )

    assert {each.reason for each in refusals} == {"PROVIDER_UNAVAILABLE"}
    assert len(client.provider_calls()) == len((await client.get_call()).attempts) == 3


async def test_a_caller_that_waits_for_the_retry_delay_gets_another_round(
    stack: GatewayStack, client: GatewayClient
) -> None:
    stack.stub.script(client.word, BAD_GATEWAY, times=4)
    with running(stack.gateway("brisk", NAGAYA_RETRY_PAUSE_SECONDS="1")) as gateway:
        brisk = await client.via(gateway)
        first = await brisk.generate_refused(brisk.spec())
        await asyncio.sleep(waits(first) or 0.0)
        done = await brisk.generate()

    assert [attempt.state for attempt in done.call.attempts] == [FAILED] * 4 + [SETTLED]
    assert len(client.provider_calls()) == 5


async def test_a_request_that_comes_again_under_its_own_id_is_a_repeat_however_late(
    stack: GatewayStack, client: GatewayClient
) -> None:
    stack.stub.script(client.word, BAD_GATEWAY, **ALWAYS)
    with running(stack.gateway("brisk", NAGAYA_RETRY_PAUSE_SECONDS="0.5")) as gateway:
        brisk = await client.via(gateway)
        brisk.request_id = "one-request"
        first = await brisk.generate_refused(brisk.spec())
        await asyncio.sleep(waits(first) or 0.0)
        again = await brisk.generate_refused(brisk.spec())
        sent = len(client.provider_calls())
        brisk.request_id = "another-request"
        await brisk.generate_refused(brisk.spec())

    assert first.reason == "PROVIDER_UNAVAILABLE", str(first)
    assert (again.reason, str(again)) == (first.reason, str(first))
    assert sent == 3
    assert len(client.provider_calls()) == 6


async def test_an_unknown_outcome_is_reported_again_and_redo_is_another_decision(
    stack: GatewayStack, client: GatewayClient
) -> None:
    stack.stub.script(client.word, BROKEN_OFF, times=1)
    refusals = [await client.generate_refused(client.spec(unknown_policy=FAIL)) for _ in range(5)]
    sent = len(client.provider_calls())

    redone = await client.generate(client.spec(unknown_policy=REDO))

    assert {each.reason for each in refusals} == {"CALL_OUTCOME_UNKNOWN"}
    assert sent == 1
    assert [attempt.state for attempt in redone.call.attempts] == [UNKNOWN, SETTLED]


async def test_a_wait_that_a_provider_asked_for_outlives_the_process_that_waits(
    stack: GatewayStack, client: GatewayClient, victim: GatewayClient
) -> None:
    limited = {"kind": "status", "status": 429, "headers": {"retry-after": "6"}}
    stack.stub.script(client.word, limited, times=1)
    asked = asyncio.create_task(victim.generate())
    await client.wait_for_call(lambda call: call.state == call_pb2.CALL_STATE_RESERVED, asked)
    victim.gateway.kill()
    with pytest.raises(Refused):
        await asked

    await client.generate()

    first, second = (datetime.fromisoformat(call["begin_time"]) for call in client.provider_calls())
    assert (second - first).total_seconds() >= 6


async def test_a_call_whose_processes_die_one_after_another_rests_after_three_attempts(
    stack: GatewayStack, client: GatewayClient
) -> None:
    for _ in range(3):
        rule = stack.stub.script(client.word, {"kind": "hold"}, times=1)
        with running(stack.gateway("mortal")) as gateway:
            mortal = await client.via(gateway)
            asked = asyncio.create_task(mortal.generate(mortal.spec(unknown_policy=REDO)))
            await stack.stub.wait_until_held(rule, asked)
            assert not asked.done(), asked.exception()
            gateway.kill()
            with pytest.raises(Refused):
                await asked

    refusals = [await client.generate_refused(client.spec(unknown_policy=REDO)) for _ in range(3)]
    call = await client.get_call()

    assert {each.reason for each in refusals} == {"PROVIDER_UNAVAILABLE"}
    assert 0 < (waits(refusals[-1]) or 0.0) <= 10
    assert [attempt.state for attempt in call.attempts] == [UNKNOWN] * 3
    assert call.state == UNKNOWN
    assert len(client.provider_calls()) == 3


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        ("1e20", 86_400, 31 * 86_400),
        ("99999999999999999999", 86_400, 31 * 86_400),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400, 31 * 86_400),
        ("-5", 0, 10),
        ("nan", 0, 10),
        ("inf", 0, 31 * 86_400),
        ("soon", 0, 10),
        ("0", 0, 10),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0, 10),
    ],
)
async def test_whatever_stands_in_retry_after_a_caller_gets_an_answer(
    stack: GatewayStack, client: GatewayClient, value: str, least: float, most: float
) -> None:
    headers = {"retry-after": value}
    stack.stub.script(client.word, {"kind": "status", "status": 429, "headers": headers}, **ALWAYS)

    refusals = [await client.generate_refused(client.spec()) for _ in range(2)]

    assert {each.reason for each in refusals} == {"PROVIDER_LIMITED"}
    assert all(least <= (waits(each) or 0.0) <= most for each in refusals)
    assert len(client.provider_calls()) == len((await client.get_call()).attempts) <= 3
