"""A process stops while the artifacts service is away, and nothing that was paid is lost."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import pytest
from tests.integration.llm_gateway.stored_replies import (
    LOCK,
    SETTLED,
    WAITING,
    check,
    held,
    refused,
)
from tests.support.gateway_client import Refused
from tests.support.processes import running
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from tests.support.gateway_client import GatewayClient
    from tests.support.gateway_stack import GatewayStack


@pytest.mark.parametrize("stops", ["before the replies", "after the replies"])
@pytest.mark.parametrize("artifacts", ["stopped", "frozen"])
async def test_no_reply_is_lost_to_an_orderly_stop_without_the_artifacts_service(
    stack: GatewayStack, client: GatewayClient, artifacts: str, stops: str
) -> None:
    os.kill(stack.artifacts.pid, signal.SIGSTOP)
    if artifacts == "stopped":
        stack.artifacts.kill()
    try:
        with running(stack.gateway("leaving", NAGAYA_SHUTDOWN_GRACE_SECONDS="30")) as gateway:
            asked, rule = await held(stack, await client.via(gateway), 16)
            if stops == "after the replies":
                stack.stub.release(rule)
            os.kill(gateway.pid, signal.SIGTERM)
            stack.stub.release(rule)
            await asyncio.to_thread(gateway.wait)
            await asyncio.gather(*asked)
    finally:
        if artifacts == "stopped":
            await asyncio.to_thread(stack.artifacts.start)
        else:
            os.kill(stack.artifacts.pid, signal.SIGCONT)

    await check(client, [await client.get_call(n) for n in range(1, 17)])


async def test_a_whole_reply_settles_its_call_though_its_process_stops_waiting(
    stack: GatewayStack, client: GatewayClient
) -> None:
    with running(stack.gateway("leaving", NAGAYA_SHUTDOWN_GRACE_SECONDS="2")) as gateway:
        leaving = await client.via(gateway)
        asked, rule = await held(stack, leaving, 16)
        async with client.database.transaction():  # so that settling must wait
            await client.database.execute(LOCK, client.run_id)
            stack.stub.release(rule)
            await wait_until(lambda: client.database.fetchval(WAITING), unless=gateway.ended)
            os.kill(gateway.pid, signal.SIGTERM)
            await gateway.wait_until_logged("calls in flight were cancelled", *asked)
        await asyncio.to_thread(gateway.wait)
        reasons = {error.reason for error in await refused(asked)}

    assert reasons == {"CALL_IN_FLIGHT"}
    await check(client, [await client.get_call(n) for n in range(1, 17)])


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
