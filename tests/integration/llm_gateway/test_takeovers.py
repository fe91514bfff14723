"""A process loses its lease, another takes its call over, the first one wakes up: nothing is sent
that may have been paid for, and nothing that was stored is lost.
"""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from tests.integration.llm_gateway.asking import FAIL, REDO, Refused
from tests.integration.llm_gateway.house import running

from nagaya.llm_gateway.v1 import call_pb2

if TYPE_CHECKING:
    from tests.integration.llm_gateway.asking import Asking
    from tests.integration.llm_gateway.house import House

SETTLED, FAILED, UNKNOWN = (
    call_pb2.CALL_STATE_SETTLED,
    call_pb2.CALL_STATE_FAILED,
    call_pb2.CALL_STATE_UNKNOWN,
)
REFUSED = {"kind": "status", "status": 400}
LOCK = "SELECT FROM llm_calls WHERE run_id = $1::text::uuid FOR UPDATE"
WAITING = """
    SELECT EXISTS (
        SELECT FROM pg_stat_activity
         WHERE datname = current_database() AND wait_event_type = 'Lock'
    )
"""


def freeze(asking: Asking) -> None:
    os.kill(asking.gateway.pid, signal.SIGSTOP)


def wake(asking: Asking) -> None:
    os.kill(asking.gateway.pid, signal.SIGCONT)


def states(call: call_pb2.Call) -> list[int]:
    return [attempt.state for attempt in call.attempts]


async def frozen_in_flight(
    house: House, asking: Asking, victim: Asking, policy: int = FAIL
) -> tuple[asyncio.Task[Any], str]:
    """Freeze a process whose request the stub holds; return the asking, and the rule that holds."""
    rule = house.stub.script(asking.word, {"kind": "hold"}, nth=1)
    asked = asyncio.create_task(victim.ask(victim.spec(unknown_policy=policy)))
    await asyncio.to_thread(house.stub.wait_until_held, rule)
    freeze(victim)
    return asked, rule


async def reason_of(asking: Asking, policy: int) -> str:
    with pytest.raises(Refused) as refused:
        await asking.ask(asking.spec(unknown_policy=policy))
    return refused.value.reason


async def test_a_process_frozen_between_two_attempts_does_not_send_what_another_has_sent(
    house: House, asking: Asking, victim: Asking
) -> None:
    busy = {"kind": "status", "status": 429, "headers": {"retry-after": "3"}}
    house.stub.script(asking.word, busy, nth=1)
    house.stub.script(asking.word, {"kind": "drop"}, nth=2)
    asked = asyncio.create_task(victim.ask())
    await asking.until(lambda call: call.state == call_pb2.CALL_STATE_RESERVED)
    freeze(victim)

    reason = await reason_of(asking, FAIL)
    wake(victim)
    with pytest.raises(Refused) as refused:
        await asked

    assert reason == refused.value.reason == "CALL_OUTCOME_UNKNOWN"
    assert states(await asking.call()) == [FAILED, UNKNOWN]
    assert len(asking.sent()) == 2


async def test_a_late_reply_settles_a_call_that_another_process_failed_at(
    house: House, asking: Asking, victim: Asking
) -> None:
    asked, rule = await frozen_in_flight(house, asking, victim)
    house.stub.script(asking.word, REFUSED, nth=1)
    reason = await reason_of(asking, REDO)
    house.stub.release(rule)
    wake(victim)

    late = await asked

    assert reason == "PROVIDER_REFUSED"
    assert late.call.state == SETTLED
    assert states(late.call) == [SETTLED, FAILED]
    assert len(asking.sent()) == 2


async def test_a_late_failure_does_not_send_under_the_number_of_anothers_attempt(
    house: House, asking: Asking, victim: Asking
) -> None:
    late = {"kind": "status", "status": 503, "delay_ms": 8_000}
    house.stub.script(asking.word, late, nth=1)
    house.stub.script(asking.word, {"kind": "drop"}, nth=[2, 3])
    asked = asyncio.create_task(victim.ask())
    async with asyncio.timeout(20):
        while not await asyncio.to_thread(asking.sent):  # noqa: ASYNC110 - the stub is another process
            await asyncio.sleep(0.02)
    freeze(victim)

    reason = await reason_of(asking, REDO)
    wake(victim)
    with pytest.raises(Refused) as refused:
        await asked
    call = await asking.call()

    assert (reason, refused.value.reason) == ("PROVIDER_UNAVAILABLE", "CALL_OUTCOME_UNKNOWN")
    assert states(call) == [FAILED, UNKNOWN, UNKNOWN]
    assert call.state == UNKNOWN
    assert len({sent["idempotency"] for sent in asking.sent()}) == len(asking.sent()) == 3


@pytest.mark.parametrize(
    ("policy", "action"), [(FAIL, None), (REDO, REFUSED)], ids=["fail", "redo"]
)
async def test_a_reply_stored_after_its_call_was_given_up_is_found_before_anything_is_sent(
    house: House,
    asking: Asking,
    victim: Asking,
    policy: int,
    action: dict[str, Any] | None,
) -> None:
    asked, rule = await frozen_in_flight(house, asking, victim)
    if action is not None:
        house.stub.script(asking.word, action, nth=1)
    await reason_of(asking, policy)
    given_up = await asking.call()
    sent = len(asking.sent())
    async with asking.database.transaction():  # so that settling must wait
        await asking.database.execute(LOCK, asking.run_id)
        house.stub.release(rule)
        wake(victim)
        await asking.files.until_stored()
        victim.gateway.kill()
    with pytest.raises(Refused):
        await asked

    again = await asking.ask(asking.spec(unknown_policy=FAIL))

    assert given_up.state == UNKNOWN
    assert again.replayed
    assert again.call.state == SETTLED
    assert states(again.call)[0] == SETTLED
    assert not again.call.attempts[0].estimated
    assert len(asking.sent()) == sent


async def test_an_attempt_whose_process_died_is_unknown_when_another_reply_settles_the_call(
    house: House, asking: Asking, victim: Asking
) -> None:
    asked, rule = await frozen_in_flight(house, asking, victim)
    second = house.stub.script(asking.word, {"kind": "hold"}, nth=1)
    with running(house.gateway("heir")) as gateway:
        heir = await asking.through(gateway)
        redone = asyncio.create_task(heir.ask(heir.spec(unknown_policy=REDO)))
        await asyncio.to_thread(house.stub.wait_until_held, second)
        house.stub.release(rule)
        wake(victim)
        await asking.until(lambda call: states(call)[:1] == [SETTLED])
        gateway.kill()
    with pytest.raises(Refused):
        await redone

    late = await asked

    assert late.call.state == SETTLED
    assert states(late.call) == [SETTLED, UNKNOWN]
    assert late.call.attempts[1].HasField("end_time")
    assert len(asking.sent()) == 2


async def test_a_call_costs_what_its_attempts_cost_though_one_was_booked_at_the_last_moment(
    house: House, asking: Asking
) -> None:
    house.stub.script(asking.word, {"kind": "status", "status": 503}, nth=1)
    rule = house.stub.script(asking.word, {"kind": "hold"}, nth=2)
    asked = asyncio.create_task(asking.ask())
    await asyncio.to_thread(house.stub.wait_until_held, rule)
    async with asking.database.transaction():  # as a process does that wakes up late
        await asking.database.execute(LOCK, asking.run_id)
        house.stub.release(rule)
        async with asyncio.timeout(20):
            while not await asking.database.fetchval(WAITING):  # noqa: ASYNC110 - another process's transaction is nothing to wait on
                await asyncio.sleep(0.02)
        await asking.database.execute(
            """
            UPDATE llm_call_attempts SET cost_micro_usd = 1000
             WHERE attempt = 1
               AND call_id = (SELECT id FROM llm_calls WHERE run_id = $1::text::uuid)
            """,
            asking.run_id,
        )

    done = await asked

    assert done.call.cost_micro_usd == sum(a.cost_micro_usd for a in done.call.attempts)
    assert done.call.attempts[0].cost_micro_usd == 1000
