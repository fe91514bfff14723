"""Settling a call from a reply that is stored or kept already, whoever did that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm_gateway.app.replies import AnotherFile
from llm_gateway.domain.calls import CallState, Ending
from llm_gateway.domain.requests import UnknownPolicy
from llm_gateway.errors import ModelUnpriced, ReplyDisplaced

if TYPE_CHECKING:
    from llm_gateway.app.replies import Found, Replies
    from llm_gateway.domain.calls import Attempt, Call, Lease
    from llm_gateway.ledger.kept_replies import KeptReplies
    from llm_gateway.ledger.outcomes import Outcomes
    from llm_gateway.routing.cache import CatalogCache

DIED = "the process that sent it died before its reply was stored"


class Recovery:
    def __init__(
        self, outcomes: Outcomes, kept: KeptReplies, replies: Replies, cache: CatalogCache
    ) -> None:
        self._outcomes = outcomes
        self._kept = kept
        self._replies = replies
        self._cache = cache

    async def recover(
        self, tenant_id: str, call: Call, lease: Lease, policy: UnknownPolicy
    ) -> Call | None:
        """Find out what became of a call that nobody is at work on, before anything is sent again.

        Its stored reply settles it, whichever attempt it came from. None when there is none; an
        attempt that was still open is then recorded as unknown. Raises ReplyDisplaced.
        """
        try:
            settled = await self.settle(tenant_id, call, lease)
        except ReplyDisplaced:
            await self._bury(tenant_id, call, lease, call_ends=True)
            raise
        if settled is None:
            await self._bury(tenant_id, call, lease, call_ends=policy is UnknownPolicy.FAIL)
        return settled

    async def _bury(self, tenant_id: str, call: Call, lease: Lease, *, call_ends: bool) -> None:
        if call.open_attempt:
            await self._outcomes.lose_attempt(tenant_id, call.key, lease, DIED, call_ends=call_ends)

    async def settle(self, tenant_id: str, call: Call, lease: Lease) -> Call | None:
        """Settle a call from its stored reply, or from the kept one, which is stored before.

        None when there is neither. Raises ReplyDisplaced when the file is none of the call's.
        """
        kept = await self._kept.find(tenant_id, call.id)
        if kept is not None:  # where another's reply lies, that one is found below
            await self._replies.put(tenant_id, call.key, kept)
        try:
            found = await self._replies.find(tenant_id, call.key, call.request_digest)
        except AnotherFile:
            await self._kept.discard(tenant_id, call.key)
            raise ReplyDisplaced(call.last_attempt) from None
        sent = [] if found is None else [a for a in call.attempts if a.number == found.file.attempt]
        if found is None or not sent:
            return None
        return await self._outcomes.settle(
            tenant_id,
            call.key,
            found.file.attempt,
            self._ending(found, sent[0]),
            found.output(),
            lease,
        )

    def _ending(self, found: Found, attempt: Attempt) -> Ending:
        usage = found.reply.usage
        price = self._cache.current.price(
            attempt.model_id, attempt.dispatched_at, usage.prompt_tokens
        )
        if price is None:
            raise ModelUnpriced(attempt.model_id)
        return Ending(
            state=CallState.SETTLED,
            price_id=price.id,
            usage=usage,
            cost_micro_usd=price.rates.cost(usage),
            estimated=bool(found.reply.usage_note),
            note=attempt.note or found.reply.usage_note,
            http_status=attempt.http_status or 200,
            provider_request_id=found.file.provider_request_id,
        )
