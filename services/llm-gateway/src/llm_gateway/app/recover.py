"""Recovering a call: settles it from a reply that an earlier process stored as a file, or kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm_gateway.app.reply_storage import UnexpectedFile
from llm_gateway.domain.attempts import AttemptResult, CallState
from llm_gateway.domain.ledger_entries import Settlement
from llm_gateway.domain.requests import UnknownPolicy
from llm_gateway.errors import ModelUnpriced, ReplyDisplaced
from llm_gateway.metrics import UNKNOWN

if TYPE_CHECKING:
    from llm_gateway.app.reply_storage import FoundReply, ReplyStorage
    from llm_gateway.domain.attempts import CallAttempt
    from llm_gateway.domain.calls import CallLease, LlmCall
    from llm_gateway.ledger.outcomes import Outcomes
    from llm_gateway.ledger.settlements import Settlements
    from llm_gateway.routing.cache import CatalogCache

PROCESS_DIED = "the process that sent it died before its reply was stored"


class CallRecovery:
    """Settles calls whose reply is a file or kept, whichever process did that."""

    def __init__(
        self,
        outcomes: Outcomes,
        settlements: Settlements,
        replies: ReplyStorage,
        cache: CatalogCache,
    ) -> None:
        self._outcomes = outcomes
        self._settlements = settlements
        self._replies = replies
        self._cache = cache

    async def recover(
        self, tenant_id: str, call: LlmCall, lease: CallLease, policy: UnknownPolicy
    ) -> LlmCall | None:
        """Settle a call that no process is working on, before anything is sent again.

        Its stored reply settles it, whichever attempt it came from. None when there is none; an
        attempt that was still open is then recorded as unknown. Raises ReplyDisplaced.
        """
        try:
            settled = await self.settle(tenant_id, call)
        except ReplyDisplaced:
            await self._end_open_attempt(tenant_id, call, lease, call_ends=True)
            raise
        if settled is None:
            ends = policy is UnknownPolicy.FAIL
            await self._end_open_attempt(tenant_id, call, lease, call_ends=ends)
        return settled

    async def settle(self, tenant_id: str, call: LlmCall) -> LlmCall | None:
        """Settle a call from its stored or kept reply.

        None when there is neither. Raises ReplyDisplaced when the file is not a reply to the call.
        """
        try:
            found = await self._replies.find(tenant_id, call)
        except UnexpectedFile:
            raise ReplyDisplaced(call.last_attempt) from None
        sent = [] if found is None else [a for a in call.attempts if a.number == found.attempt]
        if found is None or not sent:
            return None
        result = self._result(found, sent[0])
        settlement = Settlement(call.key, found.attempt, result, found.output, found.body)
        return await self._settlements.settle(tenant_id, settlement)

    async def _end_open_attempt(
        self, tenant_id: str, call: LlmCall, lease: CallLease, *, call_ends: bool
    ) -> None:
        if call.open_attempt:
            await self._outcomes.mark_unknown(
                tenant_id, call.key, lease, PROCESS_DIED, call_ends=call_ends
            )
            UNKNOWN.labels("process_died").inc()

    def _result(self, found: FoundReply, attempt: CallAttempt) -> AttemptResult:
        usage = found.reply.usage
        price = self._cache.current.price(
            attempt.model_id, attempt.dispatched_at, usage.prompt_tokens
        )
        if price is None:
            raise ModelUnpriced(attempt.model_id)
        return AttemptResult(
            state=CallState.SETTLED,
            price_id=price.id,
            usage=usage,
            cost_micro_usd=price.rates.cost(usage),
            estimated=bool(found.reply.usage_note),
            note=attempt.note or found.reply.usage_note,
            http_status=attempt.http_status or 200,
            provider_request_id=found.provider_request_id,
        )
