"""Settling a call with its reply, in one transaction; or recording what became of it."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from llm_gateway.app.attempt import ABANDONED
from llm_gateway.app.transient_errors import TRANSIENT, is_transient_once_paid
from llm_gateway.domain.attempts import CallState
from llm_gateway.domain.calls import CallOutput
from llm_gateway.domain.ledger_entries import FirstSettlement, Settlement
from llm_gateway.errors import ReplyDisplaced
from llm_gateway.ledger.settlements import DISPLACED, TableMissing
from llm_gateway.metrics import UNKNOWN
from servicekit.errors import DomainError
from servicekit.retries import RetryLog, retry

if TYPE_CHECKING:
    from llm_gateway.app.in_flight import InFlightCall
    from llm_gateway.app.reply_storage import ReplyStorage
    from llm_gateway.domain.attempts import AttemptResult, KeyBackoff
    from llm_gateway.domain.calls import LlmCall
    from llm_gateway.domain.files import ReplyDraft
    from llm_gateway.domain.models import Resolution
    from llm_gateway.domain.replies import Reply
    from llm_gateway.ledger.outcomes import Outcomes
    from llm_gateway.ledger.settlements import Settlements

_STORE_SECONDS = 600.0  # what has been paid for is not given up lightly
_ABANDON_SECONDS = 2.0
_log = logging.getLogger(__name__)


class CallSettlement:
    """Ends attempts and their calls; what has been paid for is tried for ten minutes."""

    def __init__(self, outcomes: Outcomes, settlements: Settlements, replies: ReplyStorage) -> None:
        self._outcomes = outcomes
        self._settlements = settlements
        self._replies = replies

    async def settle(
        self, in_flight: InFlightCall, resolution: Resolution, number: int, reply: Reply
    ) -> LlmCall | None:
        """Settle a call with the reply to an attempt, and store the reply with it.

        If another reply has settled the call before, it stays so. Raises ReplyDisplaced.
        """
        draft = await self._draft(in_flight, number, reply)
        settled = await retry(
            lambda: self._settle(in_flight, draft, resolution),
            _worth_another_try,
            RetryLog(_log, "ledger.unavailable", "settling a call must wait"),
            timeout_seconds=_STORE_SECONDS,
        )
        in_flight.dispatched = False
        if settled is not None and settled.reply_attempt == number:
            in_flight.body = draft.body
        return settled

    async def _settle(
        self, in_flight: InFlightCall, draft: ReplyDraft, resolution: Resolution | None
    ) -> LlmCall | None:
        """Settle once; by the usual statement where the resolution is given, if that will do."""
        request, result, reply = in_flight.request, in_flight.result, in_flight.reply
        assert result is not None and reply is not None  # noqa: PT018, S101 - the attempt succeeded
        output = CallOutput("", draft.digest, draft.summary, reply.finish_reason)
        settlement = Settlement(request.key, draft.attempt, result, output, draft.body)
        settled, call_id = None, in_flight.call_id
        try:
            if draft.attempt == 1 and call_id is not None and resolution is not None:
                first = FirstSettlement(
                    settlement, draft.body, call_id, request, resolution, in_flight.lease
                )
                settled = await self._settlements.settle_first(first)
            return settled or await self._settlements.settle(request.tenant_id, settlement)
        except TableMissing:
            return await self._settle_with_file(in_flight, draft, settlement)

    async def _settle_with_file(
        self, in_flight: InFlightCall, draft: ReplyDraft, settlement: Settlement
    ) -> LlmCall | None:
        """Store a reply as a file, then settle, as before the migration. Raises ReplyDisplaced."""
        tenant_id = in_flight.request.tenant_id
        file = await self._replies.put(tenant_id, settlement.key, draft)
        if file is None:
            failed = replace(settlement.result, state=CallState.FAILED, error=DISPLACED)
            await self.end_attempt(in_flight, draft.attempt, failed, call_ends=True)
            raise ReplyDisplaced(draft.attempt)
        output = replace(settlement.output, path=file.path)
        return await self._settlements.settle(
            tenant_id, replace(settlement, output=output, body=None)
        )

    async def end_attempt(
        self,
        in_flight: InFlightCall,
        number: int,
        result: AttemptResult,
        *,
        call_ends: bool,
        backoff: KeyBackoff | None = None,
    ) -> None:
        """Record an attempt that gave no reply; the call ends with it, or is held for another."""
        request = in_flight.request
        await retry(
            lambda: self._outcomes.end_attempt(
                request.tenant_id,
                request.key,
                number,
                result,
                in_flight.lease,
                call_ends=call_ends,
                backoff=backoff,
            ),
            is_transient_once_paid,
            RetryLog(_log, "ledger.unavailable", "recording an attempt's end must wait"),
            timeout_seconds=_STORE_SECONDS,
        )
        in_flight.dispatched = False

    async def abandon(self, in_flight: InFlightCall) -> None:
        """Record, within two seconds, what is known of an attempt that does not go on."""
        try:
            await retry(
                lambda: self._abandon(in_flight),
                TRANSIENT,
                RetryLog(_log, "ledger.unavailable", "giving a call up must wait"),
                timeout_seconds=_ABANDON_SECONDS,
            )
        except DomainError as error:  # its lease expires, which has the same effect
            _log.warning(
                "a call could not be given up",
                extra={"event": "llm_call.abandon_failed", "reason": error.reason},
            )

    async def _abandon(self, in_flight: InFlightCall) -> None:
        request, lease, result = in_flight.request, in_flight.lease, in_flight.result
        tenant_id, key = request.tenant_id, request.key
        if result is None:
            await self._outcomes.mark_unknown(tenant_id, key, lease, ABANDONED, call_ends=True)
            UNKNOWN.labels("given_up").inc()
            return
        number = in_flight.attempt
        if in_flight.reply is not None:  # whether it has settled the call is unknown
            draft = await self._draft(in_flight, number, in_flight.reply)
            await self._settle(in_flight, draft, None)
            return
        await self._outcomes.end_attempt(tenant_id, key, number, result, lease, call_ends=True)

    async def _draft(self, in_flight: InFlightCall, number: int, reply: Reply) -> ReplyDraft:
        request_id = "" if in_flight.result is None else in_flight.result.provider_request_id
        return await self._replies.draft(reply, in_flight.request.digest, number, request_id)


def _worth_another_try(error: Exception) -> bool:
    return not isinstance(error, ReplyDisplaced)
