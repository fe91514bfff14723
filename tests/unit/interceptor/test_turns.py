"""Turns: shared among those who wait, however many each of them has waiting."""

from __future__ import annotations

import asyncio

from interceptor.places import Places
from interceptor.timers import Timers
from interceptor.turns import Turn, Turns


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_holder_with_one_call_waits_for_one_turn_only() -> None:
    turns, order = Turns(1, 1, 60), list[str]()

    async def work(holder: str) -> None:
        turn = await turns.take(holder)
        order.append(holder)
        await asyncio.sleep(0)
        turn.end()

    first = await turns.take("busy")
    waiting = [asyncio.create_task(work("busy")) for _ in range(100)]
    await settle()
    waiting += [asyncio.create_task(work(name)) for name in ("calm", "quiet")]
    await settle()
    first.end()
    await asyncio.gather(*waiting)

    assert order[:4] == ["busy", "calm", "quiet", "busy"]
    assert len(order) == 102


async def test_a_holder_leaves_turns_to_others_even_when_nobody_waits() -> None:
    turns = Turns(10, 3, 60)
    taken = [await turns.take("busy") for _ in range(3)]
    fourth = asyncio.create_task(turns.take("busy"))
    await settle()

    assert not fourth.done()
    other = await turns.take("calm")
    taken[0].end()
    assert (await fourth).holder == "busy"
    other.end()


async def test_a_holder_that_is_alone_has_all_the_turns_until_another_comes() -> None:
    turns = Turns(10, 3, 0.02, all_when_alone=True)

    async def take(holder: str) -> Turn:
        return await asyncio.wait_for(turns.take(holder), 5)

    async def at_once(holder: str) -> int:
        """Return how many turns a holder gets without waiting."""
        tasks = [asyncio.create_task(take(holder)) for _ in range(10)]
        await settle()
        count = sum(task.done() for task in tasks)
        for task in asyncio.as_completed(tasks):
            (await task).end()
        return count

    assert await at_once("busy") == 3  # who has just come is not known to be alone
    await asyncio.sleep(1.1)  # what is awaited is the time itself
    assert await at_once("busy") == 10
    (await take("calm")).end()
    assert await at_once("busy") == 3


async def test_a_turn_ends_by_itself_and_only_once() -> None:
    turns = Turns(1, 1, 0.01)
    slow = await turns.take("busy")
    second = await asyncio.wait_for(turns.take("calm"), 5)
    slow.end()
    third = asyncio.create_task(turns.take("quiet"))
    await settle()

    assert not third.done() or second.holder == "calm"
    second.end()
    (await asyncio.wait_for(third, 5)).end()
    assert (await asyncio.wait_for(turns.take("busy"), 5)).holder == "busy"


async def test_who_goes_away_takes_no_turn_along() -> None:
    turns = Turns(1, 1, 60)
    first = await turns.take("busy")
    gone = [asyncio.create_task(turns.take("busy")) for _ in range(10)]
    await settle()
    for task in gone[:5]:
        task.cancel()
    first.end()  # in the same moment: one of those who were cancelled is next
    for task in gone[5:]:
        task.cancel()
    await asyncio.gather(*gone, return_exceptions=True)

    last = await asyncio.wait_for(turns.take("calm"), 5)
    last.end()
    assert (await asyncio.wait_for(turns.take("busy"), 5)).holder == "busy"


def test_places_are_counted_for_each_holder() -> None:
    places = Places(2)

    assert [places.enter("busy") for _ in range(3)] == [True, True, False]
    assert places.enter("calm")
    places.leave("busy")
    assert places.enter("busy")
    assert (places.taken("busy"), places.taken("nobody")) == (2, 0)


async def test_timers_end_what_is_due_in_the_order_of_its_beginning() -> None:
    ended: asyncio.Queue[str] = asyncio.Queue()
    timers: Timers[str] = Timers(0.02, ended.put_nowait)
    for name in ("first", "stopped", "second"):
        timers.start(name)
    timers.stop("stopped")
    timers.start("first")  # anew

    found = [await asyncio.wait_for(ended.get(), 5) for _ in range(2)]

    assert found == ["second", "first"]
    assert ended.empty()
