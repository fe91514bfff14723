"""What many ask for at the same time is done together."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from servicekit.errors import DeadlineExceeded, Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Sequence

G = TypeVar("G")
I = TypeVar("I")  # noqa: E741 - an item
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a batch holds, and how many batches of a group are under way at once."""

    weight: int
    at_once: int = 1


class Batches(Generic[G, I, R]):
    """Does items of a group in batches: what is asked for while one is under way is the next.

    So one item alone waits for nothing, and many cost little more than one. `do` gets the items of
    one group and returns an answer for each. Batches are done in the context of one of those who
    ask, so a group must act for one person.
    """

    def __init__(self, do: Callable[[G, list[I]], Awaitable[Sequence[R]]], limits: Limits) -> None:
        self._do = do
        self._limits = limits
        self._groups: dict[G, _Group[I, R]] = {}

    async def ask(self, group: G, name: Hashable, item: I, weight: int = 1) -> R:
        """Have an item done and return the answer; raises what `do` raises.

        No batch holds two items of one name. An item that is no longer waited for may be done all
        the same.
        """
        asked = _Asked[I, R](name, item, weight, asyncio.get_running_loop().create_future())
        waiting = self._groups.setdefault(group, _Group())
        waiting.asked.append(asked)
        if waiting.under_way < self._limits.at_once:
            waiting.under_way += 1
            # The batch is taken once this task runs: those who ask at the same moment are in it.
            task = asyncio.create_task(self._work(group, waiting))
            waiting.tasks.add(task)
            task.add_done_callback(waiting.tasks.discard)
        return await asked.answer

    async def _work(self, group: G, waiting: _Group[I, R]) -> None:
        try:
            while batch := waiting.take(self._limits.weight):
                await self._answer(group, batch)
        finally:
            waiting.under_way -= 1
            if not waiting.under_way:
                self._groups.pop(group, None)

    async def _answer(self, group: G, batch: list[_Asked[I, R]]) -> None:
        try:
            answers = await self._do(group, [asked.item for asked in batch])
        except Exception as error:
            if len(batch) > 1 and not isinstance(error, (Unavailable, DeadlineExceeded)):
                for asked in batch:  # what is wrong with one is not the others' fault
                    await self._answer(group, [asked])
                return
            for asked in batch:
                asked.settle(error)
            return
        for asked, answer in zip(batch, answers, strict=True):
            asked.settle(answer)


@dataclass(slots=True)
class _Asked(Generic[I, R]):
    name: Hashable
    item: I
    weight: int
    answer: asyncio.Future[R]

    def settle(self, answer: R | Exception) -> None:
        if self.answer.done():
            return
        if isinstance(answer, Exception):
            self.answer.set_exception(answer)
        else:
            self.answer.set_result(answer)


@dataclass(slots=True)
class _Group(Generic[I, R]):
    asked: deque[_Asked[I, R]] = field(default_factory=deque)
    under_way: int = 0
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def take(self, weight: int) -> list[_Asked[I, R]]:
        """Take the next batch: at least one item, as many in their order as weigh so much."""
        batch: list[_Asked[I, R]] = []
        names: set[Hashable] = set()
        left: deque[_Asked[I, R]] = deque()
        for asked in self.asked:
            if asked.answer.done():
                continue  # nobody waits for it any more
            if asked.name in names or (batch and asked.weight > weight):
                left.append(asked)
                continue
            batch.append(asked)
            names.add(asked.name)
            weight -= asked.weight
        self.asked = left
        return batch
