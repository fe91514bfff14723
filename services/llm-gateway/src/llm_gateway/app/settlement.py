"""The end of an attempt: its reply settles the call, or what became of it is recorded."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from llm_gateway.app.attempts import GIVEN_UP
from llm_gateway.app.patience import patiently
from llm_gateway.domain.calls import CallState, Output
from llm_gateway.errors import ReplyDisplaced
from llm_gateway.ledger.outcomes import DISPLACED
from servicekit.errors import DomainError

if TYPE_CHECKING:
    from llm_gateway.app.attempts import Heard
    from llm_gateway.app.flights import Flight, Order
    from llm_gateway.app.recovery import Recovery
    from llm_gateway.app.replies import Replies
    from llm_gateway.domain.calls import Bound, Call, Ending
    from llm_gateway.domain.files import ReplyDraft, ReplyFile
    from llm_gateway.domain.replies import Reply
    from llm_gateway.ledger.claims import Claims
    from llm_gateway.ledger.kept_replies import KeptReplies
    from llm_gateway.ledger.outcomes import Outcomes

_STORE_SECONDS = 600.0  # what has been paid for is not given up lightly
_GIVE_UP_SECONDS = 2.0
_log = logging.getLogger(__name__)


class Settlement:
    def __init__(
        self,
        claims: Claims,
        outcomes: Outcomes,
        kept: KeptReplies,
        replies: Replies,
        recovery: Recovery,
    ) -> None:
        self._claims = claims
        self._outcomes = outcomes
        self._kept = kept
        self._replies = replies
        self._recovery = recovery

    async def land(self, flight: Flight, number: int, heard: Heard) -> Call | None:
        """Store a reply, then settle; None when another process has taken the call over.

        A reply that cannot be stored at once is kept in the tenant's database. Once it is there,
        the call is never given up for lack of a file: whoever comes next stores it.
        """
        order, ending, reply = flight.order, heard.ending, heard.reply
        draft = await self._draft(order, number, reply, ending)
        put = partial(self._put, flight, draft, ending)
        try:
            file = await patiently("storing a reply", put, _STORE_SECONDS, whole=True)
        except Exception as error:
            if flight.kept:
                raise
            reason = error.reason if isinstance(error, DomainError) else type(error).__name__
            words = f"the reply could not be stored: {reason}"
            await self.end(flight, number, _unstored(ending, words), call_ends=True)
            raise
        if file is None:
            return await self._yield_to_stored(flight, number, ending)
        output = Output(file.path, draft.digest, draft.summary, reply.finish_reason)
        settled = await patiently(
            "settling a call",
            lambda: self._outcomes.settle(
                order.tenant_id,
                order.key,
                number,
                ending,
                output,
                flight.lease,
                call_id=flight.call_id if number == 1 and not flight.late else None,
            ),
            _STORE_SECONDS,
            whole=True,
        )
        flight.dispatched = False
        return settled

    async def _yield_to_stored(self, flight: Flight, number: int, ending: Ending) -> Call:
        """Settle with the reply of an earlier attempt, which was stored after all."""
        order, ended = flight.order, _unstored(ending, DISPLACED)
        await self.end(flight, number, ended, call_ends=False)

        async def settle() -> Call | None:
            call, _ = await self._claims.look(order.tenant_id, order.key)
            try:
                if call is None or call.state is CallState.SETTLED:
                    return call
                return await self._recovery.settle(order.tenant_id, call, flight.lease)
            except ReplyDisplaced:
                return None

        settled = await patiently("settling with a stored reply", settle, _STORE_SECONDS, paid=True)
        if settled is None:
            await self.end(flight, number, ended, call_ends=True)
            raise ReplyDisplaced(number)
        return settled

    async def end(
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

    async def _draft(self, order: Order, number: int, reply: Reply, ending: Ending) -> ReplyDraft:
        return await self._replies.draft(reply, order.digest, number, ending.provider_request_id)

    async def _put(self, flight: Flight, draft: ReplyDraft, ending: Ending) -> ReplyFile | None:
        """Store a reply, or keep it and raise why it cannot be stored."""
        try:
            return await self._replies.put(flight.order.tenant_id, flight.order.key, draft)
        except Exception:
            flight.late = True
            await self._keep(flight, draft, ending)
            raise

    async def _keep(self, flight: Flight, draft: ReplyDraft, ending: Ending) -> None:
        if not flight.kept:
            order = flight.order
            flight.kept = await self._kept.keep(order.tenant_id, order.key, draft, ending)

    async def give_up(self, flight: Flight) -> None:
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
        if flight.reply is not None:  # nobody knows whether it was stored
            draft = await self._draft(order, flight.attempt, flight.reply, ending)
            await self._keep(flight, draft, ending)
            if flight.kept:
                await self._kept.let_go(order.tenant_id, order.key, flight.lease)
                return
            ending = replace(ending, state=CallState.UNKNOWN, error=GIVEN_UP)
        await self._outcomes.end_attempt(
            order.tenant_id, order.key, flight.attempt, ending, flight.lease, call_ends=True
        )


def _unstored(ending: Ending, words: str) -> Ending:
    return replace(ending, state=CallState.FAILED, error=words)
