"""Replies that are whole while the artifacts service is away, as tests make and judge them."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tests.support.gateway_client import FAIL, Refused
from tests.support.waiting import fewer_run, wait_until

from nagaya.llm_gateway.v1 import call_pb2, generation_service_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests.support.gateway_client import Fields, GatewayClient
    from tests.support.gateway_stack import GatewayStack

SETTLED = call_pb2.CALL_STATE_SETTLED
KEPT = """
    SELECT count(*) FROM llm_replies
      JOIN llm_calls ON llm_calls.id = call_id WHERE run_id = $1::text::uuid
"""
FILES = "SELECT count(*) FROM artifacts WHERE run_id = $1::text::uuid"
SETTLEMENTS = """
    SELECT count(*) FROM (
               SELECT action, resource_id FROM audit_logs
                UNION ALL
               SELECT action, resource_id FROM audit_unchained) AS entry
     WHERE action = 'call.settle' AND starts_with(resource_id, $1)
"""


@asynccontextmanager
async def artifacts_away(stack: GatewayStack) -> AsyncGenerator[None]:
    await asyncio.to_thread(stack.artifacts.stop)
    try:
        yield
    finally:
        await asyncio.to_thread(stack.artifacts.start)


async def held(
    stack: GatewayStack, client: GatewayClient, count: int = 1, policy: int = FAIL
) -> tuple[list[asyncio.Task[object]], str]:
    """Ask under so many keys; return when the stub holds all, with the rule that holds them."""
    rule = stack.stub.script(client.word, {"kind": "hold"}, times=count)
    specs = [client.spec(call=n, unknown_policy=policy) for n in range(1, count + 1)]
    asked: list[asyncio.Task[object]] = [
        asyncio.create_task(client.generate(spec)) for spec in specs
    ]
    await stack.stub.wait_until_held(rule, *asked, count=count)
    return asked, rule


async def wait_until_kept(
    client: GatewayClient, asked: list[asyncio.Task[object]], count: int = 1
) -> None:
    """Return when so many replies are kept. Fails at once when too few tasks still ask."""

    async def kept() -> bool:
        return await client.database.fetchval(KEPT, client.run_id) >= count

    await wait_until(kept, unless=fewer_run(tuple(asked), count))


async def killed_with_a_kept_reply(stack: GatewayStack, victim: GatewayClient) -> None:
    """Let a reply be heard and kept while the artifacts service is away, and its process die."""
    asked, rule = await held(stack, victim)
    async with artifacts_away(stack):
        stack.stub.release(rule)
        await wait_until_kept(victim, asked)
        victim.gateway.kill()
    await refused(asked)


async def refused(asked: list[asyncio.Task[object]]) -> list[Refused]:
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    refusals = [outcome for outcome in outcomes if isinstance(outcome, Refused)]
    assert len(refusals) == len(outcomes)
    return refusals


async def when_back(
    client: GatewayClient, **more: Fields
) -> generation_service_pb2.GenerateResponse:
    """Ask again for as long as the process has not noticed that the artifacts service is back.

    Raises Refused, for any other reason.
    """
    async with asyncio.timeout(20):
        while True:
            try:
                return await client.generate(client.spec(**more))
            except Refused as error:
                if error.reason != "PEER_UNAVAILABLE":
                    raise


async def check(client: GatewayClient, calls: list[call_pb2.Call]) -> None:
    """Every call was paid once, is settled, and has one file and one settlement."""
    sent = {each["idempotency"].rpartition("/")[0]: each for each in client.provider_calls()}
    assert len(client.provider_calls()) == len(sent) == len(calls)
    for call in calls:
        key = call.key
        (attempt,) = call.attempts
        paid = sent[f"{key.run_id}/{key.step}/{key.item}-{key.visit}/{key.call}"]
        assert (call.state, attempt.state, attempt.estimated) == (SETTLED, SETTLED, False)
        assert attempt.provider_request_id == paid["request_id"]
        assert call.usage.output_tokens == paid["output_tokens"]
        assert call.cost_micro_usd == attempt.cost_micro_usd > 0
        assert (await client.reply(call))["usage"]["output_tokens"] == paid["output_tokens"]
    counts = [await client.database.fetchval(sql, client.run_id) for sql in (FILES, SETTLEMENTS)]
    assert counts == [len(calls), len(calls)]
    assert await client.database.fetchval(KEPT, client.run_id) == 0
