"""How many calls may be worked on at once, the next one in turn among those who wait."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque

from interceptor.timers import Timers

_MOMENT_SECONDS = 0.01
_ALONE_SECONDS = 1.0


class Turn:
    """The right to be worked on now; `end` gives it back, once however often it is called."""

    __slots__ = ("_held", "_turns", "holder")

    def __init__(self, turns: Turns, holder: str) -> None:
        self.holder = holder
        self._turns = turns
        self._held = True

    def end(self) -> None:
        if self._held:
            self._held = False
            self._turns.give(self)

    def end_after_rest(self) -> None:
        """End it once the loop is free, and has been free for as long as it was not."""
        loop = asyncio.get_running_loop()
        due = loop.time() + _MOMENT_SECONDS
        loop.call_at(due, lambda: loop.call_later(loop.time() - due, self.end))


class Turns:
    """At most `most` turns at once, at most `most_each` of one holder.

    Who waits is served holder by holder, and within a holder in the order of coming: so a holder
    with one call waits for one turn, however many calls another has waiting. A turn that is not
    given back ends by itself `seconds` after it was taken: a call that is worked on for longer
    waits for something else. With `all_when_alone` a holder has all turns while no other has come
    for a second.
    """

    def __init__(
        self, most: int, most_each: int, seconds: float, *, all_when_alone: bool = False
    ) -> None:
        self._free = most
        self._most_each = most_each
        self._taken: dict[str, int] = {}
        self._waiting: OrderedDict[str, deque[asyncio.Future[Turn]]] = OrderedDict()
        self._timers: Timers[Turn] = Timers(seconds, Turn.end)
        self._all_when_alone = all_when_alone
        self._latest = ""
        self._shared_until = 0.0

    async def take(self, holder: str) -> Turn:
        """Wait for a turn. `Turn.end` must follow."""
        if holder != self._latest:
            self._latest, self._shared_until = holder, time.monotonic() + _ALONE_SECONDS
        if self._free and holder not in self._waiting and self._may(holder):
            return self._grant(holder)
        future: asyncio.Future[Turn] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(holder, deque()).append(future)
        try:
            return await future
        except BaseException:
            if future.done() and not future.cancelled():  # both came at once
                future.result().end()
            elif (queue := self._waiting.get(holder)) is not None and future in queue:
                queue.remove(future)
                if not queue:
                    del self._waiting[holder]
            raise

    def give(self, turn: Turn) -> None:
        """Take a turn back, and give it on."""
        self._timers.stop(turn)
        left = self._taken[turn.holder] - 1
        if left:
            self._taken[turn.holder] = left
        else:
            del self._taken[turn.holder]
        self._free += 1
        while self._free and self._serve_next():
            pass

    def _serve_next(self) -> bool:
        """Give a turn to the holder whose last one is the longest ago; False if nobody may."""
        for holder, queue in self._waiting.items():
            if not self._may(holder):
                continue
            while queue and queue[0].done():  # it was cancelled and has not been told yet
                queue.popleft()
            if queue:
                queue.popleft().set_result(self._grant(holder))
            if queue:
                self._waiting.move_to_end(holder)
            else:
                del self._waiting[holder]
            return True
        return False

    def _may(self, holder: str) -> bool:
        if self._taken.get(holder, 0) < self._most_each:
            return True
        return self._all_when_alone and time.monotonic() >= self._shared_until

    def _grant(self, holder: str) -> Turn:
        self._free -= 1
        self._taken[holder] = self._taken.get(holder, 0) + 1
        turn = Turn(self, holder)
        self._timers.start(turn)
        return turn
