"""Permits go round among keys, however many waiters each key has; limits count by key."""

from __future__ import annotations

import asyncio

from interceptor.concurrency_limit import ConcurrencyLimit
from interceptor.fair_semaphore import FairSemaphore, Permit
from interceptor.timers import Timers


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_key_with_one_call_waits_for_one_permit_only() -> None:
    semaphore, order = FairSemaphore(1, 1, 60), list[str]()

    async def work(key: str) -> None:
        permit = await semaphore.acquire(key)
        order.append(key)
        await asyncio.sleep(0)
        permit.release()

    first = await semaphore.acquire("busy")
    waiting = [asyncio.create_task(work("busy")) for _ in range(100)]
    await settle()
    waiting += [asyncio.create_task(work(name)) for name in ("calm", "quiet")]
    await settle()
    first.release()
    await asyncio.gather(*waiting)

    assert order[:4] == ["busy", "calm", "quiet", "busy"]
    assert len(order) == 102


async def test_a_key_leaves_permits_to_others_even_when_nobody_waits() -> None:
    semaphore = FairSemaphore(10, 3, 60)
    taken = [await semaphore.acquire("busy") for _ in range(3)]
    fourth = asyncio.create_task(semaphore.acquire("busy"))
    await settle()

    assert not fourth.done()
    other = await semaphore.acquire("calm")
    taken[0].release()
    assert (await fourth).key == "busy"
    other.release()


async def test_a_key_that_is_alone_has_all_permits_until_another_comes() -> None:
    semaphore = FairSemaphore(10, 3, 60, all_when_alone=True)

    async def take(key: str) -> Permit:
        return await asyncio.wait_for(semaphore.acquire(key), 60)

    async def at_once(key: str) -> int:
        """Return how many permits a key gets without waiting."""
        tasks = [asyncio.create_task(take(key)) for _ in range(10)]
        await settle()
        count = sum(task.done() for task in tasks)
        for task in asyncio.as_completed(tasks):
            (await task).release()
        return count

    assert await at_once("busy") == 3  # who has just come is not known to be alone
    await asyncio.sleep(1.1)  # what is awaited is the time itself
    assert await at_once("busy") == 10
    (await take("calm")).release()
    assert await at_once("busy") == 3


async def test_a_permit_expires_by_itself_and_is_released_only_once() -> None:
    semaphore = FairSemaphore(1, 1, 0.01)
    slow = await semaphore.acquire("busy")
    second = await asyncio.wait_for(semaphore.acquire("calm"), 60)
    slow.release()
    third = asyncio.create_task(semaphore.acquire("quiet"))
    await settle()

    assert not third.done() or second.key == "calm"
    second.release()
    (await asyncio.wait_for(third, 60)).release()
    assert (await asyncio.wait_for(semaphore.acquire("busy"), 60)).key == "busy"


async def test_a_waiter_that_is_cancelled_keeps_no_permit() -> None:
    semaphore = FairSemaphore(1, 1, 60)
    first = await semaphore.acquire("busy")
    gone = [asyncio.create_task(semaphore.acquire("busy")) for _ in range(10)]
    await settle()
    for task in gone[:5]:
        task.cancel()
    first.release()  # in the same moment: one of those who were cancelled is next
    for task in gone[5:]:
        task.cancel()
    await asyncio.gather(*gone, return_exceptions=True)

    last = await asyncio.wait_for(semaphore.acquire("calm"), 60)
    last.release()
    assert (await asyncio.wait_for(semaphore.acquire("busy"), 60)).key == "busy"


def test_a_limit_counts_each_key_for_itself() -> None:
    limit = ConcurrencyLimit(2)

    assert [limit.acquire("busy") for _ in range(3)] == [True, True, False]
    assert limit.acquire("calm")
    limit.release("busy")
    assert limit.acquire("busy")
    assert (limit.in_use("busy"), limit.in_use("nobody")) == (2, 0)


async def test_timers_end_what_is_due_in_the_order_of_its_beginning() -> None:
    ended: asyncio.Queue[str] = asyncio.Queue()
    timers: Timers[str] = Timers(0.02, ended.put_nowait)
    for name in ("first", "stopped", "second"):
        timers.start(name)
    timers.stop("stopped")
    timers.start("first")  # anew

    found = [await asyncio.wait_for(ended.get(), 60) for _ in range(2)]

    assert found == ["second", "first"]
    assert ended.empty()
