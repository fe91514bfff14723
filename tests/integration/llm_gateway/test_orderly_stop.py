"""A process stops while the artifacts service is away, and nothing that was paid is lost."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import pytest
from tests.integration.llm_gateway.asking import Refused
from tests.integration.llm_gateway.house import running
from tests.integration.llm_gateway.keeping import (
    KEPT,
    SETTLED,
    check,
    held,
    refused,
    until_kept,
)

from nagaya.llm_gateway.v1 import call_pb2

if TYPE_CHECKING:
    from tests.integration.llm_gateway.asking import Asking
    from tests.integration.llm_gateway.house import House

DISPATCHED = call_pb2.CALL_STATE_DISPATCHED


@pytest.mark.parametrize("stops", ["before the replies", "after the replies"])
@pytest.mark.parametrize("artifacts", ["stopped", "frozen"])
async def test_no_reply_is_lost_to_an_orderly_stop_without_the_artifacts_service(
    house: House, asking: Asking, victim: Asking, artifacts: str, stops: str
) -> None:
    asked, rule = await held(house, victim, 16)
    os.kill(house.artifacts.pid, signal.SIGSTOP)
    if artifacts == "stopped":
        house.artifacts.kill()
    try:
        if stops == "after the replies":
            house.stub.release(rule)
            if artifacts == "stopped":
                await until_kept(asking, 16)
        os.kill(victim.gateway.pid, signal.SIGTERM)
        house.stub.release(rule)
        await asyncio.to_thread(victim.gateway.wait)
        told = {error.reason for error in await refused(asked)}
        states = {(await asking.call(n)).state for n in range(1, 17)}
        kept = await asking.database.fetchval(KEPT, asking.run_id)
    finally:
        if artifacts == "stopped":
            await asyncio.to_thread(house.artifacts.start)
        else:
            os.kill(house.artifacts.pid, signal.SIGCONT)

    await asyncio.to_thread(victim.gateway.start)
    answers = await asyncio.gather(*(victim.ask(victim.spec(call=n)) for n in range(1, 17)))

    assert (told, states, kept) == ({"CALL_IN_FLIGHT"}, {DISPATCHED}, 16)
    await check(asking, [answer.call for answer in answers])


async def test_a_process_that_stops_begins_nothing_that_it_might_not_end(
    house: House, asking: Asking
) -> None:
    with running(house.gateway("leaving", NAGAYA_SHUTDOWN_GRACE_SECONDS="15")) as gateway:
        leaving = await asking.through(gateway)
        asked, rule = await held(house, leaving)
        os.kill(gateway.pid, signal.SIGTERM)
        answered, reason = await until_refused(leaving)
        house.stub.release(rule)
        await asyncio.gather(*asked)

    assert reason == "CALL_IN_FLIGHT"
    assert (await asking.call()).state == SETTLED
    assert len(asking.sent()) == 1 + answered


async def until_refused(asking: Asking) -> tuple[int, str]:
    """Ask under one key after another; return how many were answered before one was refused."""
    answered = 0
    async with asyncio.timeout(10):
        while True:
            try:
                await asking.ask(asking.spec(call=2 + answered))
            except Refused as error:
                return answered, error.reason
            answered += 1
