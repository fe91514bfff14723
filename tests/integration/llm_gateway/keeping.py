"""Replies that are whole while the artifacts service is away, as tests make and judge them."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tests.integration.llm_gateway.asking import FAIL, Refused

from nagaya.llm_gateway.v1 import call_pb2, generation_service_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests.integration.llm_gateway.asking import Asking, Fields
    from tests.integration.llm_gateway.house import House

SETTLED = call_pb2.CALL_STATE_SETTLED
KEPT = """
    SELECT count(*) FROM llm_replies
      JOIN llm_calls ON llm_calls.id = call_id WHERE run_id = $1::text::uuid
"""
FILES = "SELECT count(*) FROM artifacts WHERE run_id = $1::text::uuid"
SETTLEMENTS = """
    SELECT count(*) FROM audit_logs
     WHERE action = 'call.settle' AND starts_with(resource_id, $1)
"""


@asynccontextmanager
async def artifacts_away(house: House) -> AsyncGenerator[None]:
    await asyncio.to_thread(house.artifacts.stop)
    try:
        yield
    finally:
        await asyncio.to_thread(house.artifacts.start)


async def held(
    house: House, asking: Asking, count: int = 1, policy: int = FAIL
) -> tuple[list[asyncio.Task[object]], str]:
    """Ask under so many keys; return when the stub holds all, with the rule that holds them."""
    rule = house.stub.script(asking.word, {"kind": "hold"}, times=count)
    specs = [asking.spec(call=n, unknown_policy=policy) for n in range(1, count + 1)]
    asked: list[asyncio.Task[object]] = [asyncio.create_task(asking.ask(spec)) for spec in specs]
    await asyncio.to_thread(house.stub.wait_until_held, rule, count)
    return asked, rule


async def until_kept(asking: Asking, count: int = 1) -> None:
    async with asyncio.timeout(20):
        while await asking.database.fetchval(KEPT, asking.run_id) < count:  # noqa: ASYNC110 - another process's table
            await asyncio.sleep(0.02)


async def killed_with_a_kept_reply(house: House, victim: Asking) -> None:
    """Let a reply be heard and kept while the artifacts service is away, and its process die."""
    asked, rule = await held(house, victim)
    async with artifacts_away(house):
        house.stub.release(rule)
        await until_kept(victim)
        victim.gateway.kill()
    await refused(asked)


async def refused(asked: list[asyncio.Task[object]]) -> list[Refused]:
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    refusals = [outcome for outcome in outcomes if isinstance(outcome, Refused)]
    assert len(refusals) == len(outcomes)
    return refusals


async def when_back(asking: Asking, **more: Fields) -> generation_service_pb2.GenerateResponse:
    """Ask again for as long as the process has not noticed that the artifacts service is back.

    Raises Refused, for any other reason.
    """
    async with asyncio.timeout(20):
        while True:
            try:
                return await asking.ask(asking.spec(**more))
            except Refused as error:
                if error.reason != "PEER_UNAVAILABLE":
                    raise


async def check(asking: Asking, calls: list[call_pb2.Call]) -> None:
    """Every call was paid once, is settled, and has one file and one settlement."""
    sent = {each["idempotency"].rpartition("/")[0]: each for each in asking.sent()}
    assert len(asking.sent()) == len(sent) == len(calls)
    for call in calls:
        key = call.key
        (attempt,) = call.attempts
        paid = sent[f"{key.run_id}/{key.step}/{key.item}-{key.visit}/{key.call}"]
        assert (call.state, attempt.state, attempt.estimated) == (SETTLED, SETTLED, False)
        assert attempt.provider_request_id == paid["request_id"]
        assert call.usage.output_tokens == paid["output_tokens"]
        assert call.cost_micro_usd == attempt.cost_micro_usd > 0
        assert (await asking.files.reply(call))["usage"]["output_tokens"] == paid["output_tokens"]
    counts = [await asking.database.fetchval(sql, asking.run_id) for sql in (FILES, SETTLEMENTS)]
    assert counts == [len(calls), len(calls)]
    assert await asking.database.fetchval(KEPT, asking.run_id) == 0
