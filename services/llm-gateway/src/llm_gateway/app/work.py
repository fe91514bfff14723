"""The work of one flight: from a key to a settled call, through every instant at which it may die.

Nothing is sent before the attempt is committed as dispatched, and no call is settled before its
reply is stored. So after a death the ledger holds an open attempt, and either its reply is in the
artifacts service, which settles it, or nobody knows what became of it, which is what is recorded.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from llm_gateway.app.attempts import GIVEN_UP, Failed, make
from llm_gateway.app.patience import patiently
from llm_gateway.app.retries import error_of
from llm_gateway.domain.calls import Bound, CallState
from llm_gateway.errors import ReplyDisplaced
from llm_gateway.ledger.bounds import bound_of, refuse_too_early
from llm_gateway.ledger.claims import (
    Granted,
    Held,
    Refused,
    Request,
    Stored,
    refuse_another_request,
    refuse_unknown,
)
from llm_gateway.ledger.outcomes import LeaseLost
from servicekit.call import Call as ServedCall
from servicekit.call import current_call, serving
from servicekit.errors import DomainError

if TYPE_CHECKING:
    from llm_gateway.app.attempts import Heard, Journey
    from llm_gateway.app.flights import Flight
    from llm_gateway.app.journeys import Journeys
    from llm_gateway.app.pending_work import PendingWork
    from llm_gateway.app.recovery import Recovery
    from llm_gateway.app.replies import Replies
    from llm_gateway.app.retries import Retries
    from llm_gateway.domain.calls import Call, Ending, Lease, Plan
    from llm_gateway.ledger.claims import Claim, Claims
    from llm_gateway.ledger.outcomes import Outcomes

_POLL_SECONDS = 0.2
_PAUSE_POLL_SECONDS = 1.0
_STORE_SECONDS = 600.0  # what has been paid for is not given up lightly
_GIVE_UP_SECONDS = 2.0
_log = logging.getLogger(__name__)


class Work:
    def __init__(
        self,
        pending_work: PendingWork,
        claims: Claims,
        outcomes: Outcomes,
        journeys: Journeys,
        replies: Replies,
        recovery: Recovery,
        retries: Retries,
    ) -> None:
        self._pending_work = pending_work
        self._claims = claims
        self._outcomes = outcomes
        self._journeys = journeys
        self._replies = replies
        self._recovery = recovery
        self._retries = retries

    async def fly(self, flight: Flight) -> Call:
        """Bring a call to its end, whoever still waits for it. Raises DomainError."""
        with serving(_detached()):
            try:
                return await self._fly(flight)
            except BaseException:
                if flight.dispatched:
                    await asyncio.shield(self._give_up(flight))
                raise

    async def _fly(self, flight: Flight) -> Call:
        order, journey = flight.order, None
        while True:
            call, override = await self._claims.look(order.tenant_id, order.key)
            if call is not None:
                refuse_another_request(call, order.digest)
                flight.key_is_ours = True
                if call.state is CallState.SETTLED:
                    return call
                if call.held_against(flight.lease):
                    journey = None  # it may be out of date by the time that it is wanted
                    flight.wait()
                    await asyncio.sleep(_POLL_SECONDS)
                    continue
                if not call.held_by(flight.lease):
                    refuse_too_early(call, order.spec.unknown_policy, order.request_id)
                    if call.pause_seconds > 0:  # between two attempts its process died
                        journey = None
                        flight.wait()
                        await asyncio.sleep(min(call.pause_seconds, _PAUSE_POLL_SECONDS))
                        continue
                    settled = await self._recovery.recover(
                        order.tenant_id, call, flight.lease, order.spec.unknown_policy
                    )
                    if settled is not None:
                        return settled
                    if call.open_attempt:
                        continue
                refuse_unknown(call, order.spec.unknown_policy)
            journey = journey or await self._journeys.prepare(order, override)
            landed = await self._claim(flight, journey)
            if landed is not None:
                return landed

    async def _claim(self, flight: Flight, journey: Journey) -> Call | None:
        """Take the key and send; None when another process holds it."""
        order = flight.order
        policy = order.spec.unknown_policy
        request = Request(order.key, order.digest, policy, order.user_id, order.request_id)
        claim = await patiently(
            "taking a key",
            lambda: self._take(order.tenant_id, request, journey.plan, flight.lease),
            flight.deadline - time.monotonic(),
        )
        if isinstance(claim, Stored):
            return claim.call
        if isinstance(claim, Refused):
            raise claim.error
        if isinstance(claim, Held):
            flight.wait()
            await asyncio.sleep(_POLL_SECONDS)
            return None
        flight.granted(claim.call_id)
        return await self._send(flight, journey, claim)

    async def _take(self, tenant_id: str, request: Request, plan: Plan, lease: Lease) -> Claim:
        await self._pending_work.note(tenant_id)
        return await self._claims.claim(tenant_id, request, plan, lease)

    async def _send(self, flight: Flight, journey: Journey, granted: Granted) -> Call | None:
        """Make attempts until one is heard or no more may follow. Raises DomainError."""
        order, provider_id = flight.order, journey.route.provider.id
        policy, number, tried = order.spec.unknown_policy, granted.attempt, granted.tried
        if tried == 1:
            self._retries.began(provider_id)
        while True:
            outcome = await make(flight, journey, number)
            if not isinstance(outcome, Failed):
                return await self._land(flight, number, outcome)
            fault, ending = outcome.fault, outcome.ending
            then = self._retries.after(fault, tried, provider_id, policy, flight.deadline)
            if then.seconds is None:
                pause = self._retries.pause(fault, policy)
                error = error_of(
                    fault, number, tried, provider_id, policy, pause=pause, why=then.why
                )
                bound = bound_of(error, pause, order.request_id)
                await self._end(flight, number, ending, call_ends=True, bound=bound)
                raise error
            bound = Bound(then.seconds, None)
            await self._end(flight, number, ending, call_ends=False, bound=bound)
            await asyncio.sleep(then.seconds)
            number, tried = number + 1, tried + 1
            if not await self._next(flight, journey, number):
                return None

    async def _next(self, flight: Flight, journey: Journey, number: int) -> bool:
        """Record another attempt; tell whether the call is still ours."""
        order = flight.order
        try:
            await patiently(
                "recording an attempt",
                lambda: self._outcomes.next_attempt(
                    order.tenant_id, order.key, number, journey.plan, flight.lease
                ),
                flight.deadline - time.monotonic(),
            )
        except LeaseLost:
            return False
        flight.dispatch()
        return True

    async def _land(self, flight: Flight, number: int, heard: Heard) -> Call | None:
        """Store a reply, then settle; None when another process has taken the call over."""
        order, ending = flight.order, heard.ending
        try:
            output = await patiently(
                "storing a reply",
                lambda: self._replies.put(
                    order.tenant_id,
                    order.key,
                    heard.reply,
                    order.digest,
                    number,
                    ending.provider_request_id,
                ),
                _STORE_SECONDS,
                paid=True,
            )
        except DomainError as error:
            words = f"the reply could not be stored: {error.reason}"
            await self._end(flight, number, _unstored(ending, words), call_ends=True)
            raise
        if output is None:
            return await self._yield_to_stored(flight, number, ending)
        settled = await patiently(
            "settling a call",
            lambda: self._outcomes.settle(
                order.tenant_id,
                order.key,
                number,
                ending,
                output,
                flight.lease,
                call_id=flight.call_id if number == 1 else None,
            ),
            _STORE_SECONDS,
            paid=True,
        )
        flight.dispatched = False
        return settled

    async def _yield_to_stored(self, flight: Flight, number: int, ending: Ending) -> Call:
        """Settle with the reply of an earlier attempt, which was stored after all."""
        order, ended = flight.order, _unstored(ending, "another reply had been stored before")
        await self._end(flight, number, ended, call_ends=False)
        try:
            call, _ = await self._claims.look(order.tenant_id, order.key)
            settled = None
            if call is not None:
                settled = await self._recovery.settle(order.tenant_id, call, flight.lease)
            if settled is None:
                raise ReplyDisplaced(number)
        except DomainError:
            await self._end(flight, number, ended, call_ends=True)
            raise
        return settled

    async def _end(
        self,
        flight: Flight,
        number: int,
        ending: Ending,
        *,
        call_ends: bool,
        bound: Bound | None = None,
    ) -> None:
        order = flight.order
        await patiently(
            "recording an attempt's end",
            lambda: self._outcomes.end_attempt(
                order.tenant_id,
                order.key,
                number,
                ending,
                flight.lease,
                call_ends=call_ends,
                bound=bound,
            ),
            _STORE_SECONDS,
            paid=True,
        )
        flight.dispatched = False

    async def _give_up(self, flight: Flight) -> None:
        try:
            await patiently("giving a call up", lambda: self._lose(flight), _GIVE_UP_SECONDS)
        except DomainError as error:  # the lease runs out, which says the same
            _log.warning("a call could not be given up", extra={"reason": error.reason})

    async def _lose(self, flight: Flight) -> None:
        """Record what is known of an attempt that this process does not bring to its end."""
        order, ending = flight.order, flight.ending
        if ending is None:
            await self._outcomes.lose_attempt(
                order.tenant_id, order.key, flight.lease, GIVEN_UP, call_ends=True
            )
            return
        if ending.state is CallState.SETTLED:  # heard, but nobody knows whether it was stored
            ending = replace(ending, state=CallState.UNKNOWN, error=GIVEN_UP)
        await self._outcomes.end_attempt(
            order.tenant_id, order.key, flight.attempt, ending, flight.lease, call_ends=True
        )


def _detached() -> ServedCall:
    """Return the call being served, without its deadline: the work outlives it."""
    call = current_call()
    if call is None:
        return ServedCall()
    return ServedCall(
        request_id=call.request_id,
        principal=call.principal,
        tenant_id=call.tenant_id,
        user_id=call.user_id,
        traceparent=call.traceparent,
    )


def _unstored(ending: Ending, words: str) -> Ending:
    return replace(ending, state=CallState.FAILED, error=words)
