"""Reading a call in flight from any position in its text."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.llm_gateway.test_requests import KEY, REQUEST

from interceptor.concurrency_limit import ConcurrencyLimit
from llm_gateway.app.in_flight import Cursor, InFlightCall, InFlightCalls
from llm_gateway.domain.calls import CallLease, Delta, LlmCall
from servicekit.errors import TooManyCalls

if TYPE_CHECKING:
    from llm_gateway.ledger.outcomes import Outcomes


def in_flight_call() -> InFlightCall:
    """Make a call whose task ends when it is cancelled."""
    made = InFlightCall(REQUEST, CallLease("p/1", "here", 15.0), time.monotonic() + 60)
    never = asyncio.get_running_loop().create_future()

    async def execute() -> LlmCall:
        return await never

    made.task = asyncio.create_task(execute())
    return made


async def end(call: InFlightCall) -> None:
    call.task.cancel()
    await asyncio.wait((call.task,))


async def read(call: InFlightCall, offset: int = 0) -> list[Delta]:
    cursor = Cursor(offset)
    return [delta async for delta in call.deltas(cursor, time.monotonic() + 60)]


@given(st.lists(st.text(min_size=1, max_size=8)), st.integers(0, 50))
def test_a_reader_gets_the_text_from_its_offset_on(pieces: list[str], offset: int) -> None:
    async def run() -> None:
        call = in_flight_call()
        early = asyncio.create_task(read(call, offset))
        call.begin_attempt(1)
        for piece in pieces:
            call.append(piece)
            await asyncio.sleep(0)
        late = asyncio.create_task(read(call, offset))
        await asyncio.sleep(0)
        await end(call)
        whole = "".join(pieces)
        for deltas in (await early, await late):
            assert "".join(delta.text for delta in deltas) == whole[offset:]
            position = offset
            for delta in deltas:
                assert (delta.attempt, delta.offset) == (1, position)
                position += len(delta.text)

    asyncio.run(run())


async def test_a_new_attempt_begins_at_zero() -> None:
    call = in_flight_call()
    reading = asyncio.create_task(read(call))
    call.begin_attempt(1)
    call.append("void")
    await asyncio.sleep(0.01)
    call.begin_attempt(2)
    call.append("well")
    await asyncio.sleep(0)
    await end(call)

    assert await reading == [Delta(1, 0, "void"), Delta(2, 0, "well")]


async def test_a_message_is_never_longer_than_64_kib() -> None:
    call = in_flight_call()
    call.begin_attempt(1)
    for _ in range(10):
        call.append("鶴" * 9_000)
    await end(call)

    deltas = await read(call, offset=5)

    assert max(len(delta.text.encode()) for delta in deltas) <= 64 << 10
    assert sum(len(delta.text) for delta in deltas) == 89_995


async def test_one_piece_too_long_for_a_message_is_cut() -> None:
    call = in_flight_call()
    call.begin_attempt(1)
    call.append("x" * 100_000)
    await end(call)

    assert "".join(delta.text for delta in await read(call, 10)) == "x" * 99_990


async def test_a_tenant_has_only_so_many_calls_in_flight_whoever_still_waits_for_them() -> None:
    nobody_renews = cast("Outcomes", None)
    calls = InFlightCalls(nobody_renews, CallLease("p", "here", 15.0), ConcurrencyLimit(2))
    ended = asyncio.Event()

    async def execute(_: InFlightCall) -> LlmCall:
        await ended.wait()
        return cast("LlmCall", None)

    def start(tenant_id: str, number: int) -> InFlightCall:
        request = replace(REQUEST, tenant_id=tenant_id, key=replace(KEY, call=number))
        return calls.start(request, time.monotonic() + 60, execute)

    started = [start("acme", 1), start("acme", 2), start("globex", 1)]
    with pytest.raises(TooManyCalls):
        start("acme", 3)
    ended.set()
    await asyncio.wait([each.task for each in started])

    assert start("acme", 3).request.key.call == 3
