"""Calls that a script holds or hangs, and their release."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiohttp
import pytest
from tests.unit.llmstub.provider_client import text_of

if TYPE_CHECKING:
    from tests.unit.llmstub.provider_client import ProviderClient

    from llmstub import LlmStub


@pytest.mark.parametrize("after_chunks", [None, 0, 2, 100_000])
async def test_a_held_call_goes_on_when_it_is_released(
    client: ProviderClient, stub: LlmStub, after_chunks: int | None
) -> None:
    stub.script(
        [{"name": "hold", "times": 1, "action": {"kind": "hold", "after_chunks": after_chunks}}]
    )
    pending = asyncio.create_task(client.generate("claude", stream=True))
    await stub.wait_for_calls(1)
    await stub.release("hold")

    response = await pending
    assert text_of("claude", response) == text_of("claude", await client.generate("claude"))
    assert stub.calls()[0].outcome == "ok"


async def test_held_calls_are_released_one_by_one(client: ProviderClient, stub: LlmStub) -> None:
    stub.script([{"name": "held", "action": {"kind": "hold"}}])
    pending = [asyncio.create_task(client.generate("chat", f"Call {n}.")) for n in range(3)]
    await stub.wait_for_calls(3)
    await stub.release("held", 1)
    done, _ = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)

    assert len(done) == 1
    assert len(stub.calls(lambda call: call.end is None)) == 2
    await stub.release("held", 2)
    await asyncio.gather(*pending)


async def test_a_hanging_call_ends_when_its_client_goes(
    client: ProviderClient, stub: LlmStub
) -> None:
    stub.script([{"name": "hang", "action": {"kind": "hang"}}])
    pending = asyncio.create_task(client.generate("gemini"))
    await stub.wait_for_calls(1)
    pending.cancel()

    await stub.wait_for_calls(1, lambda call: call.outcome == "client_gone")


async def test_a_hanging_call_is_dropped_when_it_is_released(
    client: ProviderClient, stub: LlmStub
) -> None:
    stub.script([{"name": "hang", "action": {"kind": "hang", "after_chunks": 1}}])
    pending = asyncio.create_task(client.generate("responses", stream=True))
    await stub.wait_for_calls(1)
    await stub.release("hang")

    with pytest.raises(aiohttp.ClientPayloadError):
        await pending
    assert stub.calls()[0].outcome == "dropped"


async def test_a_held_call_is_released_over_http(client: ProviderClient, stub: LlmStub) -> None:
    stub.script([{"name": "held", "action": {"kind": "hold"}}])
    pending = asyncio.create_task(client.generate("claude"))
    order = {"rule": "held", "wait_ms": 5000}
    async with client.session.post(f"{client.url}/stub/release", json=order) as reply:
        assert await reply.json() == {"released": 1}

    assert (await pending).status == 200
