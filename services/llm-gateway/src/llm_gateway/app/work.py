"""The work of one flight: from a key to a settled call, through every instant at which it may die.

Nothing is sent before the attempt is committed as dispatched, and no call is settled before its
reply is stored. So after a death the ledger holds an open attempt, and either its reply is in the
artifacts service, or kept in the tenant's database, which settles it, or nobody knows what became
of it, which is what is recorded.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from llm_gateway.app.attempts import Failed, make
from llm_gateway.app.patience import patiently
from llm_gateway.app.reply_checks import SchemaChecks
from llm_gateway.app.retries import error_of
from llm_gateway.domain.calls import Bound, CallState
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
from servicekit.call import CallContext, current_call, use_call

if TYPE_CHECKING:
    from llm_gateway.app.attempts import Journey
    from llm_gateway.app.flights import Flight
    from llm_gateway.app.journeys import Journeys
    from llm_gateway.app.pending_work import PendingWork
    from llm_gateway.app.recovery import Recovery
    from llm_gateway.app.retries import Retries
    from llm_gateway.app.settlement import Settlement
    from llm_gateway.domain.calls import Call, Lease, Plan
    from llm_gateway.ledger.claims import Claim, Claims
    from llm_gateway.ledger.outcomes import Outcomes

_POLL_SECONDS = 0.2
_PAUSE_POLL_SECONDS = 1.0


class Work:
    def __init__(
        self,
        pending_work: PendingWork,
        claims: Claims,
        outcomes: Outcomes,
        journeys: Journeys,
        settlement: Settlement,
        recovery: Recovery,
        retries: Retries,
    ) -> None:
        self._pending_work = pending_work
        self._claims = claims
        self._outcomes = outcomes
        self._journeys = journeys
        self._settlement = settlement
        self._recovery = recovery
        self._retries = retries
        self._checks = SchemaChecks()

    async def fly(self, flight: Flight) -> Call:
        """Bring a call to its end, whoever still waits for it. Raises DomainError."""
        with use_call(_detached()):
            try:
                return await self._fly(flight)
            except BaseException:
                if flight.dispatched:
                    await asyncio.shield(self._settlement.give_up(flight))
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
            outcome = await make(flight, journey, number, self._checks)
            if not isinstance(outcome, Failed):
                return await self._settlement.land(flight, number, outcome)
            fault, ending = outcome.fault, outcome.ending
            then = self._retries.after(fault, tried, provider_id, policy, flight.deadline)
            if then.seconds is None:
                pause = self._retries.pause(fault, policy)
                error = error_of(
                    fault, number, tried, provider_id, policy, pause=pause, why=then.why
                )
                bound = bound_of(error, pause, order.request_id)
                await self._settlement.end(flight, number, ending, call_ends=True, bound=bound)
                raise error
            bound = Bound(then.seconds, None)
            await self._settlement.end(flight, number, ending, call_ends=False, bound=bound)
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


def _detached() -> CallContext:
    """Return the call being served, without its deadline: the work outlives it."""
    call = current_call()
    if call is None:
        return CallContext()
    return CallContext(
        request_id=call.request_id,
        principal=call.principal,
        tenant_id=call.tenant_id,
        user_id=call.user_id,
        traceparent=call.traceparent,
    )
