"""Batches: what waits goes together, and each submitter gets its own answer."""

from __future__ import annotations

import asyncio

import pytest

from servicekit.batches import Batcher, Limits
from servicekit.errors import InvalidInput, Unavailable


class Refused(InvalidInput):
    reason = "ERROR_REASON_REFUSED"


class Slow:
    """Does batches when it is told to, and notes them."""

    def __init__(self, limits: Limits) -> None:
        self.batches: list[list[str]] = []
        self.may_go_on = asyncio.Semaphore(0)
        self.refused: set[str] = set()
        self.away = False
        self._batcher = Batcher(self._do, limits)

    def submit(self, item: str, weight: int = 1) -> asyncio.Task[str]:
        submitting = self._batcher.submit("run", [item.rstrip("'")], item, weight)
        return asyncio.create_task(submitting)

    async def _do(self, group: str, items: list[str]) -> list[str]:
        self.batches.append(items)
        await self.may_go_on.acquire()
        if self.away:
            raise Unavailable("away")
        if self.refused.intersection(items):
            raise Refused("no")
        return [item.upper() for item in items]


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_comes_while_a_batch_is_under_way_is_the_next_batch() -> None:
    slow = Slow(Limits(weight=3, at_once=4))
    tasks = [slow.submit("a")]
    await settled()
    tasks += [slow.submit(name) for name in "bc"]
    await settled()
    assert slow.batches == [["a"]]
    slow.may_go_on.release()
    await settled()
    assert slow.batches == [["a"], ["b", "c"]]
    slow.may_go_on.release()

    assert await asyncio.gather(*tasks) == ["A", "B", "C"]


async def test_whole_batches_do_not_wait_for_one_another() -> None:
    slow = Slow(Limits(weight=3, at_once=2))
    tasks = [slow.submit(name, weight=3) for name in "abc"]
    await settled()
    assert slow.batches == [["a"], ["b"]]
    for _ in tasks:
        slow.may_go_on.release()

    assert await asyncio.gather(*tasks) == ["A", "B", "C"]


async def test_one_that_is_refused_is_not_the_others_fault() -> None:
    slow = Slow(Limits(weight=9))
    slow.refused = {"b"}
    tasks = [slow.submit(name) for name in "abc"]
    for _ in range(4):
        slow.may_go_on.release()
    results = await asyncio.gather(*tasks, return_exceptions=True)

    assert results[::2] == ["A", "C"]
    assert isinstance(results[1], Refused)
    assert slow.batches == [["a", "b", "c"], ["a"], ["b"], ["c"]]


async def test_a_server_that_is_away_is_not_asked_again_for_each() -> None:
    slow = Slow(Limits(weight=9))
    slow.away = True
    slow.may_go_on.release()

    for task in [slow.submit(name) for name in "abc"]:
        with pytest.raises(Unavailable):
            await task
    assert slow.batches == [["a", "b", "c"]]


async def test_no_batch_holds_two_items_of_one_name() -> None:
    slow = Slow(Limits(weight=9))
    tasks = [slow.submit(name) for name in ("a", "a'", "b", "a''")]
    for _ in tasks:
        slow.may_go_on.release()

    assert await asyncio.gather(*tasks) == ["A", "A'", "B", "A''"]
    assert slow.batches == [["a", "b"], ["a'"], ["a''"]]
