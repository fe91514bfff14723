"""The calls in flight in this process: their tasks, the text received so far, their leases.

There is at most one per key: everybody who asks for the key shares it. It is a task of its own,
which goes on when the callers go away.
"""

from __future__ import annotations

import asyncio
import logging
import time
from bisect import bisect_right
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from llm_gateway.app.lease_renewals import LeaseRenewals
from llm_gateway.domain.attempts import AttemptUsage
from llm_gateway.domain.calls import CallLease, Delta
from llm_gateway.errors import CallInFlight, ProcessStopping
from llm_gateway.metrics import IN_FLIGHT
from servicekit.errors import TooManyCalls

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator

    from interceptor.concurrency_limit import ConcurrencyLimit
    from llm_gateway.domain.attempts import AttemptResult
    from llm_gateway.domain.calls import CallKey, LlmCall
    from llm_gateway.domain.replies import Reply
    from llm_gateway.domain.requests import CallRequest
    from llm_gateway.domain.usage import Usage
    from llm_gateway.ledger.outcomes import Outcomes

ANSWER_SECONDS = 0.5
"""How long before its deadline a caller is told that another process is working on the call."""
_MESSAGE_CHARACTERS = 16_000  # 64 KiB at most
_RETRY_AFTER_MS = "200"
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Cursor:
    """The position of a reader in a reply's text: attempt (0 for the current one) and offset."""

    offset: int
    attempt: int = 0

    def enter(self, attempt: int) -> None:
        """Move to an attempt's text: to its beginning, when the reader comes from another's."""
        if self.attempt not in (0, attempt):
            self.offset = 0
        self.attempt = attempt

    def rest(self, attempt: int, text: str) -> Iterator[Delta]:
        """Yield what is left of an attempt's whole text."""
        self.enter(attempt)
        for begin in range(self.offset, len(text), _MESSAGE_CHARACTERS):
            yield Delta(attempt, begin, text[begin : begin + _MESSAGE_CHARACTERS])


class InFlightCall:
    """One call in flight: its state in this process, and the text that its readers follow."""

    def __init__(self, request: CallRequest, lease: CallLease, deadline: float) -> None:
        self.request = request
        self.lease = lease
        self.deadline = deadline
        """The latest deadline of those who wait for it, on the clock of time.monotonic."""
        self.call_id: int | None = None
        self.lease_until = 0.0
        """Until when the lease lasts at least, on the clock of time.monotonic."""
        self.attempt = 0
        """The attempt whose text is being received; 0 before the first."""
        self.has_sent = False
        """Whether any request has been sent by this process."""
        self.held_elsewhere = False
        """Whether another process is working on the call."""
        self.owns_key = False
        """Whether the ledger holds the key for this very request."""
        self.dispatched = False
        """Whether an attempt is recorded as dispatched, and its result is not recorded yet."""
        self.result: AttemptResult | None = None
        """The attempt's result as far as it is known; None while it is being received."""
        self.reply: Reply | None = None
        """The attempt's reply, once it is whole and valid."""
        self.body: bytes | None = None
        """The reply that settled the call, where this process received it."""
        self.estimate: Callable[[], tuple[Usage, int]] | None = None
        """Returns what the attempt has used and cost so far; None where none is in flight."""
        self.task: asyncio.Task[LlmCall]
        self._pieces: list[str] = []
        self._offsets: list[int] = []
        self._length = 0
        self._readers: set[asyncio.Future[None]] = set()  # those that wait

    @property
    def text(self) -> str:
        """The text of the current attempt so far."""
        return "".join(self._pieces)

    def usage_so_far(self) -> AttemptUsage | None:
        """Return what the attempt in flight has used so far; None when none is in flight."""
        if self.estimate is None or self.call_id is None or not self.dispatched or self.result:
            return None
        return AttemptUsage(self.call_id, self.attempt, *self.estimate())

    def holds_lease(self) -> bool:
        """Return whether the lease lasts, so that no other process may have taken the call over."""
        return time.monotonic() < self.lease_until

    def extend_lease(self, asked_at: float) -> None:
        """Note that the lease was given, or renewed, after `asked_at` (of time.monotonic)."""
        self.lease_until = max(self.lease_until, asked_at + self.lease.seconds)

    def mark_reserved(self, call_id: int, asked_at: float) -> None:
        """Note that this process holds the key, and has recorded an attempt."""
        self.call_id, self.owns_key = call_id, True
        self.held_elsewhere = False
        self.mark_dispatched(asked_at)

    def mark_dispatched(self, asked_at: float) -> None:
        """Note that an attempt is recorded, about to be sent under a lease asked for then."""
        self.dispatched, self.result, self.reply = True, None, None
        self.extend_lease(asked_at)

    def mark_held_elsewhere(self) -> None:
        """Note that another process works on the call. Raises CallInFlight near the deadline."""
        if not self.held_elsewhere:
            self.held_elsewhere = True
            self._notify()
        if time.monotonic() > self.deadline - ANSWER_SECONDS:
            raise CallInFlight

    def begin_attempt(
        self, number: int, estimate: Callable[[], tuple[Usage, int]] | None = None
    ) -> None:
        """Begin to receive an attempt's text; the text of an earlier one is void."""
        self.attempt, self.has_sent, self.estimate = number, True, estimate
        self._pieces, self._offsets, self._length = [], [], 0

    def append(self, text: str) -> bool:
        """Add the next piece of the attempt's text; return whether it is the first."""
        self._pieces.append(text)
        self._offsets.append(self._length)
        self._length += len(text)
        self._notify()
        return len(self._pieces) == 1

    async def deltas(self, cursor: Cursor, until: float) -> AsyncIterator[Delta]:
        """Yield the text from the cursor on, and move it, until the call has ended.

        After `until` (on the clock of time.monotonic) another process is not waited for.
        """
        while True:
            while (delta := self._next_delta(cursor)) is not None:
                yield delta
            if self.task.done() or (self.held_elsewhere and time.monotonic() >= until):
                return
            change: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._readers.add(change)
            try:
                await self._wait(change, until if self.held_elsewhere else None)
            finally:
                self._readers.discard(change)

    async def has_ended(self, until: float) -> bool:
        """Wait for the end of the call, but not after `until` (on the clock of time.monotonic)."""
        if not self.task.done():
            await self._wait(asyncio.get_running_loop().create_future(), until)
        return self.task.done()

    async def _wait(self, change: asyncio.Future[None], until: float | None) -> None:
        """Wait for a change, for the end of the call, or until a moment; then `change` is done."""
        # asyncio.wait, with a task or a shield for each side, takes five times as long.
        timer = None
        if until is not None:
            seconds = max(until - time.monotonic(), 0.0)
            timer = asyncio.get_running_loop().call_later(seconds, _wake, change)
        wake = partial(_wake, change)
        self.task.add_done_callback(wake)
        try:
            await change
        finally:
            self.task.remove_done_callback(wake)
            if timer is not None:
                timer.cancel()

    def _next_delta(self, cursor: Cursor) -> Delta | None:
        if not self.attempt:
            return None
        cursor.enter(self.attempt)
        if cursor.offset >= self._length:
            return None
        index = bisect_right(self._offsets, cursor.offset) - 1
        begin = cursor.offset - self._offsets[index]
        text = self._pieces[index][begin : begin + _MESSAGE_CHARACTERS]
        while (index := index + 1) < len(self._pieces):
            if len(text) + len(self._pieces[index]) > _MESSAGE_CHARACTERS:
                break
            text += self._pieces[index]
        delta = Delta(cursor.attempt, cursor.offset, text)
        cursor.offset += len(text)
        return delta

    def _notify(self) -> None:
        for reader in self._readers:
            _wake(reader)


class InFlightCalls:
    """All calls in flight of this process, by tenant and key; renews their leases together."""

    def __init__(self, outcomes: Outcomes, process: CallLease, limit: ConcurrencyLimit) -> None:
        self._process = process
        self._limit = limit
        self._calls: dict[tuple[str, CallKey], InFlightCall] = {}
        self._renewals = LeaseRenewals(outcomes, process)
        self._count = 0
        self._draining = False

    @property
    def endpoint(self) -> str:
        """The address at which this process can be reached."""
        return self._process.endpoint

    def find(self, tenant_id: str, key: CallKey) -> InFlightCall | None:
        return self._calls.get((tenant_id, key))

    def start(
        self,
        request: CallRequest,
        deadline: float,
        execute: Callable[[InFlightCall], Coroutine[None, None, LlmCall]],
    ) -> InFlightCall:
        """Start the call of a key that has none in flight. Raises TooManyCalls, ProcessStopping."""
        tenant_id = request.tenant_id
        if self._draining:
            raise ProcessStopping("this process stops, and takes no more calls")
        if not self._limit.acquire(tenant_id):
            message = f"{self._limit.in_use(tenant_id)} calls of this tenant ask models already"
            raise TooManyCalls(message, retry_after_ms=_RETRY_AFTER_MS)
        self._count += 1
        owner = f"{self._process.owner}/{self._count}"
        lease = CallLease(owner, self._process.endpoint, self._process.seconds)
        in_flight = InFlightCall(request, lease, deadline)
        in_flight.task = asyncio.create_task(execute(in_flight))
        self._calls[tenant_id, request.key] = in_flight
        IN_FLIGHT.inc()
        in_flight.task.add_done_callback(lambda task: self._remove(tenant_id, request.key, task))
        return in_flight

    @asynccontextmanager
    async def renewing_leases(self) -> AsyncGenerator[None]:
        """Renew leases inside the block."""
        task = asyncio.create_task(self._renewals.run(self._calls))
        try:
            yield
        finally:
            task.cancel()

    async def drain(self, seconds: float) -> None:
        """Start no more calls and wait for those in flight; cancel what lasts longer.

        A cancelled call keeps its reply if that is whole; without one its outcome is unknown.
        """
        self._draining = True
        until = time.monotonic() + seconds
        while self._calls and (left := until - time.monotonic()) > 0:
            await asyncio.wait([call.task for call in self._calls.values()], timeout=left)
        pending = [call.task for call in self._calls.values()]
        for task in pending:
            task.cancel()
        if pending:
            _log.warning(
                "calls in flight were cancelled",
                extra={"event": "llm_call.cancelled", "count": len(pending)},
            )
            await asyncio.wait(pending, timeout=5.0)

    def _remove(self, tenant_id: str, key: CallKey, task: asyncio.Task[LlmCall]) -> None:
        del self._calls[tenant_id, key]
        IN_FLIGHT.dec()
        self._limit.release(tenant_id)
        if not task.cancelled():
            task.exception()  # retrieved, even if no caller waits for it any more


def _wake(change: asyncio.Future[None], _: object = None) -> None:
    if not change.done():
        change.set_result(None)
