"""Hearing a flight from anywhere in what it says."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interceptor.concurrency_limit import ConcurrencyLimit
from llm_gateway.app.flights import Cursor, Flight, Flights, Order
from llm_gateway.domain.calls import Call, CallKey, Delta, Lease
from servicekit.errors import TooManyCalls

if TYPE_CHECKING:
    from llm_gateway.domain.requests import GenerationSpec
    from llm_gateway.ledger.outcomes import Outcomes

KEY = CallKey(UUID(int=1), "draft", 0, 1, 1)


@dataclass(frozen=True)
class SpecOf:
    """As much of a request as a flight looks at."""

    key: CallKey


def flight() -> Flight:
    """Make a flight that lands when its task is told to."""
    order = Order("acme", cast("GenerationSpec", None), "d", "ada", "")
    made = Flight(order, Lease("p/1", "here", 15.0), time.monotonic() + 60)
    landing = asyncio.get_running_loop().create_future()

    async def fly() -> Call:
        return await landing

    made.task = asyncio.create_task(fly())
    return made


async def land(flown: Flight) -> None:
    flown.task.cancel()
    await asyncio.wait((flown.task,))


async def heard(flown: Flight, offset: int = 0) -> list[Delta]:
    cursor = Cursor(offset)
    return [delta async for delta in flown.deltas(cursor, time.monotonic() + 60)]


@given(st.lists(st.text(min_size=1, max_size=8)), st.integers(0, 50))
def test_what_is_heard_is_what_is_said_from_there_on(pieces: list[str], offset: int) -> None:
    async def scene() -> None:
        flown = flight()
        listening = asyncio.create_task(heard(flown, offset))
        flown.begin(1)
        for piece in pieces:
            flown.hear(piece)
            await asyncio.sleep(0)
        late = asyncio.create_task(heard(flown, offset))
        await asyncio.sleep(0)
        await land(flown)
        whole = "".join(pieces)
        for deltas in (await listening, await late):
            assert "".join(delta.text for delta in deltas) == whole[offset:]
            position = offset
            for delta in deltas:
                assert (delta.attempt, delta.offset) == (1, position)
                position += len(delta.text)

    asyncio.run(scene())


async def test_a_new_attempt_begins_at_zero() -> None:
    flown = flight()
    listening = asyncio.create_task(heard(flown))
    flown.begin(1)
    flown.hear("void")
    await asyncio.sleep(0.01)
    flown.begin(2)
    flown.hear("well")
    await asyncio.sleep(0)
    await land(flown)

    assert await listening == [Delta(1, 0, "void"), Delta(2, 0, "well")]


async def test_a_message_is_never_longer_than_64_kib() -> None:
    flown = flight()
    flown.begin(1)
    for _ in range(10):
        flown.hear("鶴" * 9_000)
    await land(flown)

    deltas = await heard(flown, offset=5)

    assert max(len(delta.text.encode()) for delta in deltas) <= 64 << 10
    assert sum(len(delta.text) for delta in deltas) == 89_995


async def test_one_piece_too_long_for_a_message_is_cut() -> None:
    flown = flight()
    flown.begin(1)
    flown.hear("x" * 100_000)
    await land(flown)

    assert "".join(delta.text for delta in await heard(flown, 10)) == "x" * 99_990


async def test_a_tenant_has_only_so_many_flights_whoever_still_waits_for_them() -> None:
    nobody_renews = cast("Outcomes", None)
    flights = Flights(nobody_renews, Lease("p", "here", 15.0), ConcurrencyLimit(2))
    landing = asyncio.Event()

    async def fly(_: Flight) -> Call:
        await landing.wait()
        return cast("Call", None)

    def start(tenant_id: str, call: int) -> Flight:
        spec = cast("GenerationSpec", SpecOf(replace(KEY, call=call)))
        return flights.start(Order(tenant_id, spec, "d", "ada", ""), time.monotonic() + 60, fly)

    flown = [start("acme", 1), start("acme", 2), start("globex", 1)]
    with pytest.raises(TooManyCalls):
        start("acme", 3)
    landing.set()
    await asyncio.wait([each.task for each in flown])

    assert start("acme", 3).order.key.call == 3
