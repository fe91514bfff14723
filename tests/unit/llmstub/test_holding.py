"""Calls that a script holds or hangs, and their release."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiohttp
import pytest
from tests.unit.llmstub.calling import text_of

if TYPE_CHECKING:
    from tests.unit.llmstub.calling import Caller

    from llmstub import LlmStub


@pytest.mark.parametrize("after_chunks", [None, 0, 2, 100_000])
async def test_a_held_call_goes_on_when_it_is_released(
    caller: Caller, stub: LlmStub, after_chunks: int | None
) -> None:
    stub.script(
        [{"name": "hold", "times": 1, "action": {"kind": "hold", "after_chunks": after_chunks}}]
    )
    asking = asyncio.create_task(caller.ask("claude", stream=True))
    await stub.wait_for_calls(1)
    await stub.release("hold")

    answered = await asking
    assert text_of("claude", answered) == text_of("claude", await caller.ask("claude"))
    assert stub.calls()[0].outcome == "ok"


async def test_held_calls_are_released_one_by_one(caller: Caller, stub: LlmStub) -> None:
    stub.script([{"name": "held", "action": {"kind": "hold"}}])
    asking = [asyncio.create_task(caller.ask("chat", f"Call {n}.")) for n in range(3)]
    await stub.wait_for_calls(3)
    await stub.release("held", 1)
    done, _ = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)

    assert len(done) == 1
    assert len(stub.calls(lambda call: call.end is None)) == 2
    await stub.release("held", 2)
    await asyncio.gather(*asking)


async def test_a_hanging_call_ends_when_its_client_goes(caller: Caller, stub: LlmStub) -> None:
    stub.script([{"name": "hang", "action": {"kind": "hang"}}])
    asking = asyncio.create_task(caller.ask("gemini"))
    await stub.wait_for_calls(1)
    asking.cancel()

    await stub.wait_for_calls(1, lambda call: call.outcome == "client_gone")


async def test_a_hanging_call_is_dropped_when_it_is_released(caller: Caller, stub: LlmStub) -> None:
    stub.script([{"name": "hang", "action": {"kind": "hang", "after_chunks": 1}}])
    asking = asyncio.create_task(caller.ask("responses", stream=True))
    await stub.wait_for_calls(1)
    await stub.release("hang")

    with pytest.raises(aiohttp.ClientPayloadError):
        await asking
    assert stub.calls()[0].outcome == "dropped"


async def test_a_held_call_is_released_over_http(caller: Caller, stub: LlmStub) -> None:
    stub.script([{"name": "held", "action": {"kind": "hold"}}])
    asking = asyncio.create_task(caller.ask("claude"))
    order = {"rule": "held", "wait_ms": 5000}
    async with caller.session.post(f"{caller.url}/stub/release", json=order) as reply:
        assert await reply.json() == {"released": 1}

    assert (await asking).status == 200
