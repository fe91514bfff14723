"""A semaphore that serves its waiters key by key, such as tenant by tenant."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque

from interceptor.timers import Timers

_IDLE_SECONDS = 0.01
_ALONE_SECONDS = 1.0


class Permit:
    """One acquired slot of a semaphore; `release` returns it, once however often it is called."""

    __slots__ = ("_held", "_semaphore", "key")

    def __init__(self, semaphore: FairSemaphore, key: str) -> None:
        self.key = key
        self._semaphore = semaphore
        self._held = True

    def release(self) -> None:
        """Return the slot; nothing happens when it has been returned already."""
        if self._held:
            self._held = False
            self._semaphore.release(self)

    def release_after_idle(self) -> None:
        """Release once the event loop is idle, and has been idle for as long as it was busy."""
        loop = asyncio.get_running_loop()
        due = loop.time() + _IDLE_SECONDS
        loop.call_at(due, lambda: loop.call_later(loop.time() - due, self.release))


class FairSemaphore:
    """At most `most` permits at once, at most `most_per_key` of one key.

    Waiters are served round robin by key, and first in, first out within a key: so a key with one
    waiter waits for one permit, however many waiters another key has. A permit that is not released
    expires `seconds` after it was acquired: a call that runs for longer is waiting for something
    else. With `all_when_alone` a key may have all permits while no other key has come for a second.
    """

    def __init__(
        self, most: int, most_per_key: int, seconds: float, *, all_when_alone: bool = False
    ) -> None:
        self._free = most
        self._most_per_key = most_per_key
        self._in_use: dict[str, int] = {}
        self._waiting: OrderedDict[str, deque[asyncio.Future[Permit]]] = OrderedDict()
        self._timers: Timers[Permit] = Timers(seconds, Permit.release)
        self._all_when_alone = all_when_alone
        self._latest_key = ""
        self._shared_until = 0.0

    def acquire_now(self, key: str) -> Permit | None:
        """Return a permit, or None where `acquire` would wait. `Permit.release` must follow."""
        if key != self._latest_key:
            self._latest_key, self._shared_until = key, time.monotonic() + _ALONE_SECONDS
        if self._free and key not in self._waiting and self._allows(key):
            return self._permit(key)
        return None

    async def acquire(self, key: str) -> Permit:
        """Wait for a permit. `Permit.release` must follow."""
        if (permit := self.acquire_now(key)) is not None:
            return permit
        future: asyncio.Future[Permit] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, deque()).append(future)
        try:
            return await future
        except BaseException:
            if future.done() and not future.cancelled():  # permit and cancellation came together
                future.result().release()
            elif (queue := self._waiting.get(key)) is not None and future in queue:
                queue.remove(future)
                if not queue:
                    del self._waiting[key]
            raise

    def release(self, permit: Permit) -> None:
        """Take a permit back, and serve who waits for it."""
        self._timers.stop(permit)
        left = self._in_use[permit.key] - 1
        if left:
            self._in_use[permit.key] = left
        else:
            del self._in_use[permit.key]
        self._free += 1
        while self._waiting and self._free and self._serve_next():
            pass

    def _serve_next(self) -> bool:
        """Give a permit to the key that was served longest ago; False if no waiter may have one."""
        for key, queue in self._waiting.items():
            if not self._allows(key):
                continue
            while queue and queue[0].done():  # cancelled, and its task has not run yet
                queue.popleft()
            if queue:
                queue.popleft().set_result(self._permit(key))
            if queue:
                self._waiting.move_to_end(key)
            else:
                del self._waiting[key]
            return True
        return False

    def _allows(self, key: str) -> bool:
        if self._in_use.get(key, 0) < self._most_per_key:
            return True
        return self._all_when_alone and time.monotonic() >= self._shared_until

    def _permit(self, key: str) -> Permit:
        self._free -= 1
        self._in_use[key] = self._in_use.get(key, 0) + 1
        permit = Permit(self, key)
        self._timers.start(permit)
        return permit
