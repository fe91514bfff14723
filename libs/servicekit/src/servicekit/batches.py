"""Batching: items that are submitted while a batch is under way are the next batch."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from servicekit.errors import DeadlineExceeded, Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Hashable, Sequence

G = TypeVar("G")
I = TypeVar("I")  # noqa: E741 - an item
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a batch holds, and how many of a group are under way at once when more is waiting.

    Less than a whole batch waits for one that is under way, so that the next is as large as it can
    be.
    """

    weight: int
    at_once: int = 1


class Batcher(Generic[G, I, R]):
    """Does the items of each group in batches.

    One item alone waits for nothing, and many cost little more than one. `do` gets the items of one
    group and returns a result for each. A batch is done in the context of one of its submitters, so
    a group must act for one person.
    """

    def __init__(self, do: Callable[[G, list[I]], Awaitable[Sequence[R]]], limits: Limits) -> None:
        self._do = do
        self._limits = limits
        self._groups: dict[G, _Group[I, R]] = {}

    async def submit(self, group: G, names: Collection[Hashable], item: I, weight: int = 1) -> R:
        """Have an item done and return its result; raises what `do` raises.

        Items that share a name are never in one batch. An item that is no longer waited for may be
        done all the same.
        """
        result: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        entry = _Item[I, R](frozenset(names), item, weight, result)
        waiting = self._groups.setdefault(group, _Group())
        waiting.add(entry)
        full = waiting.weight >= self._limits.weight
        if waiting.under_way < (self._limits.at_once if full else 1):
            waiting.under_way += 1
            # The batch is taken once this task runs: items of the same moment are in it.
            task = asyncio.create_task(self._work(group, waiting))
            waiting.tasks.add(task)
            task.add_done_callback(waiting.tasks.discard)
        return await entry.result

    async def _work(self, group: G, waiting: _Group[I, R]) -> None:
        try:
            while batch := waiting.take(self._limits.weight):
                await self._do_batch(group, batch)
        finally:
            waiting.under_way -= 1
            if not waiting.under_way:
                self._groups.pop(group, None)

    async def _do_batch(self, group: G, batch: list[_Item[I, R]]) -> None:
        try:
            results = await self._do(group, [entry.item for entry in batch])
        except Exception as error:
            if len(batch) > 1 and not isinstance(error, (Unavailable, DeadlineExceeded)):
                for entry in batch:  # what is wrong with one is not the others' fault
                    await self._do_batch(group, [entry])
                return
            for entry in batch:
                entry.settle(error)
            return
        for entry, result in zip(batch, results, strict=True):
            entry.settle(result)


@dataclass(slots=True)
class _Item(Generic[I, R]):
    names: frozenset[Hashable]
    item: I
    weight: int
    result: asyncio.Future[R]

    def settle(self, result: R | Exception) -> None:
        if self.result.done():
            return
        if isinstance(result, Exception):
            self.result.set_exception(result)
        else:
            self.result.set_result(result)


@dataclass(slots=True)
class _Group(Generic[I, R]):
    items: deque[_Item[I, R]] = field(default_factory=deque)
    weight: int = 0
    """Of the items."""
    under_way: int = 0
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def add(self, entry: _Item[I, R]) -> None:
        self.items.append(entry)
        self.weight += entry.weight

    def take(self, weight: int) -> list[_Item[I, R]]:
        """Take the next batch: at least one item, as many in their order as weigh so much."""
        batch: list[_Item[I, R]] = []
        names: set[Hashable] = set()
        left: deque[_Item[I, R]] = deque()
        for entry in self.items:
            if entry.result.done():
                continue  # nobody waits for it any more
            if names & entry.names or (batch and entry.weight > weight):
                left.append(entry)
            else:
                batch.append(entry)
                weight -= entry.weight
            names |= entry.names
        self.items = left
        self.weight = sum(entry.weight for entry in left)
        return batch
