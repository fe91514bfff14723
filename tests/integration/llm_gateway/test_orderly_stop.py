"""A process stops while the artifacts service is away, and nothing that was paid is lost."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import pytest
from tests.integration.llm_gateway.kept_replies import (
    KEPT,
    SETTLED,
    check,
    held,
    refused,
    wait_until_kept,
)
from tests.support.gateway_client import Refused
from tests.support.processes import running

from nagaya.llm_gateway.v1 import call_pb2

if TYPE_CHECKING:
    from tests.support.gateway_client import GatewayClient
    from tests.support.gateway_stack import GatewayStack

DISPATCHED = call_pb2.CALL_STATE_DISPATCHED


@pytest.mark.parametrize("stops", ["before the replies", "after the replies"])
@pytest.mark.parametrize("artifacts", ["stopped", "frozen"])
async def test_no_reply_is_lost_to_an_orderly_stop_without_the_artifacts_service(
    stack: GatewayStack, client: GatewayClient, victim: GatewayClient, artifacts: str, stops: str
) -> None:
    asked, rule = await held(stack, victim, 16)
    os.kill(stack.artifacts.pid, signal.SIGSTOP)
    if artifacts == "stopped":
        stack.artifacts.kill()
    try:
        if stops == "after the replies":
            stack.stub.release(rule)
            if artifacts == "stopped":
                await wait_until_kept(client, asked, 16)
        os.kill(victim.gateway.pid, signal.SIGTERM)
        stack.stub.release(rule)
        await asyncio.to_thread(victim.gateway.wait)
        reasons = {error.reason for error in await refused(asked)}
        states = {(await client.get_call(n)).state for n in range(1, 17)}
        kept = await client.database.fetchval(KEPT, client.run_id)
    finally:
        if artifacts == "stopped":
            await asyncio.to_thread(stack.artifacts.start)
        else:
            os.kill(stack.artifacts.pid, signal.SIGCONT)

    await asyncio.to_thread(victim.gateway.start)
    answers = await asyncio.gather(*(victim.generate(victim.spec(call=n)) for n in range(1, 17)))

    assert (reasons, states, kept) == ({"CALL_IN_FLIGHT"}, {DISPATCHED}, 16)
    await check(client, [answer.call for answer in answers])


async def test_a_process_that_stops_begins_nothing_that_it_might_not_end(
    stack: GatewayStack, client: GatewayClient
) -> None:
    with running(stack.gateway("leaving", NAGAYA_SHUTDOWN_GRACE_SECONDS="15")) as gateway:
        leaving = await client.via(gateway)
        asked, rule = await held(stack, leaving)
        os.kill(gateway.pid, signal.SIGTERM)
        answered, reason = await until_refused(leaving)
        stack.stub.release(rule)
        await asyncio.gather(*asked)

    assert reason == "CALL_IN_FLIGHT"
    assert (await client.get_call()).state == SETTLED
    assert len(client.provider_calls()) == 1 + answered


async def until_refused(client: GatewayClient) -> tuple[int, str]:
    """Ask under one key after another; return how many were answered before one was refused."""
    answered = 0
    async with asyncio.timeout(10):
        while True:
            try:
                await client.generate(client.spec(call=2 + answered))
            except Refused as error:
                return answered, error.reason
            answered += 1
