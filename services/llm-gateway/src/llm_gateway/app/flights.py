"""Calls in flight in this process: who waits for them, what has been said so far, their leases.

A flight is a task of its own. Whoever asked may go away; the flight lands.
"""

from __future__ import annotations

import asyncio
import logging
import time
from bisect import bisect_right
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llm_gateway.domain.calls import Delta, Lease, Spent
from llm_gateway.errors import CallInFlight
from servicekit.errors import DomainError, TooManyCalls

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine

    from interceptor.concurrency_limit import ConcurrencyLimit
    from llm_gateway.domain.calls import Call, CallKey, Ending
    from llm_gateway.domain.replies import Reply
    from llm_gateway.domain.requests import GenerationSpec
    from llm_gateway.domain.usage import Usage
    from llm_gateway.ledger.outcomes import Outcomes

ANSWER_SECONDS = 0.5
"""How long before a caller's deadline it is told that another process is still at work."""
_MESSAGE_CHARACTERS = 16_000  # 64 KiB at most
_RETRY_AFTER_MS = "200"
_STOPPING = "this process stops, and takes no more calls"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Order:
    """Who asked for what."""

    tenant_id: str
    spec: GenerationSpec
    digest: str
    user_id: str
    request_id: str

    @property
    def key(self) -> CallKey:
        return self.spec.key


@dataclass(slots=True)
class Cursor:
    """How far a reader of a reply has come, and in which attempt's text; 0 for whichever speaks."""

    offset: int
    attempt: int = 0

    def enter(self, attempt: int) -> None:
        """Go on in an attempt's text: from its beginning, when the reader comes from another's."""
        if self.attempt not in (0, attempt):
            self.offset = 0
        self.attempt = attempt


class Flight:
    """One call on its way."""

    def __init__(self, order: Order, lease: Lease, deadline: float) -> None:
        self.order = order
        self.lease = lease
        self.deadline = deadline
        """When the last of those who wait gives up, on the clock of time.monotonic."""
        self.call_id: int | None = None
        self.attempt = 0
        """The attempt whose text is being heard; 0 before the first."""
        self.paid = False
        """Whether this flight has sent anything."""
        self.elsewhere = False
        """Whether another process is at work on the call."""
        self.key_is_ours = False
        """Whether the ledger holds the key for this request, and no other."""
        self.dispatched = False
        """Whether an attempt is recorded as sent, and nothing yet of what became of it."""
        self.ending: Ending | None = None
        """What became of the attempt, as far as it is known; None while it is on its way."""
        self.reply: Reply | None = None
        """What the attempt said, once that is whole and can be used."""
        self.late = False
        """Whether that could not be stored at once, and may be kept."""
        self.kept = False
        """Whether that is kept in the tenant's database."""
        self.spend: Callable[[], tuple[Usage, int]] | None = None
        """Tells what the attempt has used and cost so far; None before the first."""
        self._pieces: list[str] = []
        self._starts: list[int] = []
        self._length = 0
        self._news: asyncio.Event | None = None  # there is one while somebody listens
        self.task: asyncio.Task[Call]

    @property
    def text(self) -> str:
        """What the attempt has said so far."""
        return "".join(self._pieces)

    def spent(self) -> Spent | None:
        """Return what the attempt under way has used so far; None when none is."""
        if self.spend is None or self.call_id is None or not self.dispatched or self.ending:
            return None
        return Spent(self.call_id, self.attempt, *self.spend())

    def granted(self, call_id: int) -> None:
        """Note that the key is taken, and an attempt recorded."""
        self.call_id, self.key_is_ours = call_id, True
        self.elsewhere = False
        self.dispatch()

    def dispatch(self) -> None:
        """Note that an attempt is recorded, and about to be sent."""
        self.dispatched, self.ending = True, None
        self.reply, self.late, self.kept = None, False, False

    def wait(self) -> None:
        """Note that another process is at work. Raises CallInFlight when nobody waits any more."""
        if not self.elsewhere:
            self.elsewhere = True
            self._tell()
        if time.monotonic() > self.deadline - ANSWER_SECONDS:
            raise CallInFlight

    def begin(self, attempt: int) -> None:
        """Begin an attempt; what an earlier one said is void."""
        self.attempt, self.paid = attempt, True
        self._pieces, self._starts, self._length = [], [], 0
        self._tell()

    def hear(self, text: str) -> None:
        """Take the next piece of the reply."""
        self._pieces.append(text)
        self._starts.append(self._length)
        self._length += len(text)
        self._tell()

    async def deltas(self, cursor: Cursor, until: float) -> AsyncIterator[Delta]:
        """Yield what is said from the cursor on, and move it, until the flight has landed.

        After `until` (on the clock of time.monotonic) another process is not waited for.
        """
        while True:
            news = self._news = self._news or asyncio.Event()
            while (delta := self._next(cursor)) is not None:
                yield delta
            if self.task.done():
                return
            left = until - time.monotonic() if self.elsewhere else None
            if left is not None and left <= 0:
                return
            waiting = asyncio.ensure_future(news.wait())
            try:
                await asyncio.wait(
                    (waiting, self.task), timeout=left, return_when=asyncio.FIRST_COMPLETED
                )
            finally:
                waiting.cancel()

    def _next(self, cursor: Cursor) -> Delta | None:
        if not self.attempt:
            return None
        cursor.enter(self.attempt)
        if cursor.offset >= self._length:
            return None
        index = bisect_right(self._starts, cursor.offset) - 1
        begin = cursor.offset - self._starts[index]
        text = self._pieces[index][begin : begin + _MESSAGE_CHARACTERS]
        while (index := index + 1) < len(self._pieces):
            if len(text) + len(self._pieces[index]) > _MESSAGE_CHARACTERS:
                break
            text += self._pieces[index]
        delta = Delta(cursor.attempt, cursor.offset, text)
        cursor.offset += len(text)
        return delta

    def _tell(self) -> None:
        if self._news is not None:
            self._news.set()
            self._news = None


class Flights:
    """All flights of this process, one at most for a key; their leases are renewed together."""

    def __init__(self, outcomes: Outcomes, process: Lease, limit: ConcurrencyLimit) -> None:
        self._outcomes = outcomes
        self._process = process
        self._limit = limit
        self._flights: dict[tuple[str, CallKey], Flight] = {}
        self._renewals: dict[str, asyncio.Task[None]] = {}
        self._count = 0
        self._landing = False

    def find(self, tenant_id: str, key: CallKey) -> Flight | None:
        return self._flights.get((tenant_id, key))

    def start(
        self, order: Order, deadline: float, fly: Callable[[Flight], Coroutine[None, None, Call]]
    ) -> Flight:
        """Start a flight for a key that has none. Raises TooManyCalls, CallInFlight."""
        if self._landing:
            raise CallInFlight(_STOPPING)
        if not self._limit.acquire(order.tenant_id):
            flying = self._limit.in_use(order.tenant_id)
            message = f"{flying} calls of this tenant ask models already"
            raise TooManyCalls(message, retry_after_ms=_RETRY_AFTER_MS)
        self._count += 1
        owner = f"{self._process.owner}/{self._count}"
        lease = Lease(owner, self._process.endpoint, self._process.seconds)
        flight = Flight(order, lease, deadline)
        flight.task = asyncio.create_task(fly(flight))
        place = (order.tenant_id, order.key)
        self._flights[place] = flight
        flight.task.add_done_callback(lambda task: self._landed(place, task))
        return flight

    @asynccontextmanager
    async def kept(self) -> AsyncGenerator[None]:
        """Renew leases inside the block."""
        task = asyncio.create_task(self._renew())
        try:
            yield
        finally:
            task.cancel()

    async def land(self, seconds: float) -> None:
        """Start nothing more, and wait for what is in flight; after so many seconds give it up.

        What has a whole reply keeps it then, and what has none is unknown.
        """
        self._landing = True
        until = time.monotonic() + seconds
        while self._flights and (left := until - time.monotonic()) > 0:
            await asyncio.wait([flight.task for flight in self._flights.values()], timeout=left)
        pending = [flight.task for flight in self._flights.values()]
        for task in pending:
            task.cancel()
        if pending:
            _log.warning("calls in flight were given up", extra={"count": len(pending)})
            await asyncio.wait(pending, timeout=5.0)

    def _landed(self, place: tuple[str, CallKey], task: asyncio.Task[Call]) -> None:
        del self._flights[place]
        self._limit.release(place[0])
        if not task.cancelled():
            task.exception()  # has been told to whoever waits, if anybody still does

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._process.seconds / 4)
            held: dict[str, list[Flight]] = {}
            for (tenant_id, _), flight in self._flights.items():
                if flight.call_id is not None:
                    held.setdefault(tenant_id, []).append(flight)
            for tenant_id, flights in held.items():
                if tenant_id not in self._renewals:  # a slow database holds up its own tenant only
                    renewal = asyncio.create_task(self._renew_in(tenant_id, flights))
                    self._renewals[tenant_id] = renewal
                    renewal.add_done_callback(lambda _, name=tenant_id: self._renewals.pop(name))

    async def _renew_in(self, tenant_id: str, flights: list[Flight]) -> None:
        """Extend leases, and note what is spent: whoever finds a dead call knows it by that."""
        call_ids = [flight.call_id for flight in flights if flight.call_id is not None]
        spent = [spent for flight in flights if (spent := flight.spent()) is not None]
        try:
            await self._outcomes.renew(tenant_id, call_ids, spent, self._process)
        except DomainError as error:
            _log.warning("leases were not renewed", extra={"reason": error.reason})
