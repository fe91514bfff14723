"""Asking a model: joining what is in flight, replaying what is stored, starting what is neither."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llm_gateway.app.flights import ANSWER_SECONDS, Order
from llm_gateway.domain.callers import check_caller
from llm_gateway.domain.calls import Call, Delta
from llm_gateway.domain.requests import UnknownPolicy
from llm_gateway.errors import CallInFlight, CallKeyReused, CallOutcomeUnknown
from servicekit.call import current_call, current_principal

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from llm_gateway.app.flights import Cursor, Flight, Flights
    from llm_gateway.app.replies import Replies
    from llm_gateway.app.work import Work
    from llm_gateway.domain.requests import GenerationSpec

_USUAL_SECONDS = 900.0
_MESSAGE_CHARACTERS = 16_000


@dataclass(frozen=True, slots=True)
class Generated:
    """A settled call, and whether the request for it cost nothing."""

    call: Call
    replayed: bool


class Generations:
    """Raises KeyReserved, what Work raises, and CallKeyReused for a key in flight."""

    def __init__(self, flights: Flights, work: Work, replies: Replies) -> None:
        self._flights = flights
        self._work = work
        self._replies = replies

    async def generate(self, tenant_id: str, spec: GenerationSpec) -> Generated:
        """Ask, and return when the reply is stored."""
        order, deadline = _order(tenant_id, spec), _deadline()
        while True:
            flight, started = await self._board(order, deadline)
            call = await self._landed(flight, order, deadline)
            if call is not None:
                return Generated(call, replayed=not (started and flight.paid))

    async def stream(
        self, tenant_id: str, spec: GenerationSpec, cursor: Cursor
    ) -> AsyncGenerator[Delta | Call]:
        """Ask, and yield the reply from the cursor on as it grows, then the call."""
        order, deadline = _order(tenant_id, spec), _deadline()
        while True:
            flight, _ = await self._board(order, deadline)
            async for delta in flight.deltas(cursor, deadline - ANSWER_SECONDS):
                yield delta
            call = await self._landed(flight, order, deadline)
            if call is not None:
                break
        if flight.attempt != call.reply_attempt:  # its text has not been heard in this process
            async for delta in self._stored(order, call, cursor):
                yield delta
        yield call

    async def _landed(self, flight: Flight, order: Order, deadline: float) -> Call | None:
        """Wait for a flight, and leave it flying when the caller goes away.

        None when it stopped where this order would go on. Raises CallInFlight when time is short
        and another process is at work, and when this one has to stop before.
        """
        left = deadline - ANSWER_SECONDS - time.monotonic()
        done, _ = await asyncio.wait((flight.task,), timeout=max(left, 0.0))
        if not done and flight.elsewhere:
            raise CallInFlight
        try:
            return await asyncio.shield(flight.task)
        except asyncio.CancelledError:
            if flight.task.cancelled():
                message = "the process that made this call stops, and another may go on with it"
                raise CallInFlight(message) from None
            raise
        except CallOutcomeUnknown:
            if _asked_for_less(flight, order):
                return None
            raise

    async def _board(self, order: Order, deadline: float) -> tuple[Flight, bool]:
        """Join the flight of a key, or start one; tell whether it was started."""
        while (flight := self._flights.find(order.tenant_id, order.key)) is not None:
            if flight.order.digest == order.digest:
                flight.deadline = max(flight.deadline, deadline)
                return flight, False
            if flight.key_is_ours:
                raise CallKeyReused(flight.order.digest)
            await asyncio.wait((flight.task,))  # it may be the one that is refused
        return self._flights.start(order, deadline, self._work.fly), True

    async def _stored(self, order: Order, call: Call, cursor: Cursor) -> AsyncGenerator[Delta]:
        if call.output is None:
            return
        structured = order.spec.output_schema is not None
        text = await self._replies.text(order.tenant_id, call.output, structured=structured)
        cursor.enter(call.reply_attempt)
        begin = cursor.offset
        for piece in _pieces(text, begin):
            yield Delta(call.reply_attempt, begin, piece)
            begin += len(piece)


def _order(tenant_id: str, spec: GenerationSpec) -> Order:
    principal, call = current_principal(), current_call()
    check_caller(spec.key, principal.workload)
    request_id = "" if call is None else call.request_id
    return Order(tenant_id, spec, spec.digest(), principal.user_id, request_id)


def _deadline() -> float:
    """Return when the caller gives up, on the clock of time.monotonic."""
    call = current_call()
    remaining = None if call is None else call.remaining()
    return time.monotonic() + (_USUAL_SECONDS if remaining is None else remaining)


def _asked_for_less(flight: Flight, order: Order) -> bool:
    """Whether a flight stopped where this order would go on."""
    policies = (flight.order.spec.unknown_policy, order.spec.unknown_policy)
    return policies == (UnknownPolicy.FAIL, UnknownPolicy.REDO)


def _pieces(text: str, begin: int) -> Iterator[str]:
    for start in range(begin, len(text), _MESSAGE_CHARACTERS):
        yield text[start : start + _MESSAGE_CHARACTERS]
