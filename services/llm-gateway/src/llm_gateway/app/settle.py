"""Settling a call: stores its reply, then records the result; or records what became of it."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from llm_gateway.app.attempt import ABANDONED
from llm_gateway.app.transient_errors import TRANSIENT, is_transient_once_paid
from llm_gateway.domain.attempts import CallState
from llm_gateway.domain.calls import CallOutput
from llm_gateway.errors import ReplyDisplaced
from llm_gateway.ledger.outcomes import DISPLACED
from servicekit.errors import DomainError
from servicekit.retries import RetryLog, retry

if TYPE_CHECKING:
    from llm_gateway.app.attempt import AttemptSucceeded
    from llm_gateway.app.in_flight import InFlightCall
    from llm_gateway.app.recover import CallRecovery
    from llm_gateway.app.reply_storage import ReplyStorage
    from llm_gateway.domain.attempts import AttemptResult, KeyBackoff
    from llm_gateway.domain.calls import LlmCall
    from llm_gateway.domain.files import ReplyDraft, ReplyFile
    from llm_gateway.ledger.kept_replies import KeptReplies
    from llm_gateway.ledger.outcomes import Outcomes
    from llm_gateway.ledger.reservations import Reservations

_STORE_SECONDS = 600.0  # what has been paid for is not given up lightly
_ABANDON_SECONDS = 2.0
_log = logging.getLogger(__name__)


class CallSettlement:
    """Ends attempts and their calls; what has been paid for is tried for ten minutes."""

    def __init__(
        self,
        reservations: Reservations,
        outcomes: Outcomes,
        kept_replies: KeptReplies,
        replies: ReplyStorage,
        recovery: CallRecovery,
    ) -> None:
        self._reservations = reservations
        self._outcomes = outcomes
        self._kept_replies = kept_replies
        self._replies = replies
        self._recovery = recovery

    async def settle(
        self, in_flight: InFlightCall, number: int, succeeded: AttemptSucceeded
    ) -> LlmCall | None:
        """Store a reply, then settle; None when another process has taken the call over.

        A reply that cannot be stored at once is kept in the tenant's database. Once it is there,
        the call is never given up for lack of a file: whoever asks next stores it.
        """
        request, result, reply = in_flight.request, succeeded.result, succeeded.reply
        provider_request_id = result.provider_request_id
        draft = await self._replies.draft(reply, request.digest, number, provider_request_id)
        file = await self._store(in_flight, draft, result)
        if file is None:
            return await self._settle_with_stored(in_flight, number, result)
        output = CallOutput(file.path, draft.digest, draft.summary, reply.finish_reason)
        at_once = number == 1 and not in_flight.storing_failed
        settled = await retry(
            lambda: self._outcomes.settle(
                request.tenant_id,
                request.key,
                number,
                result,
                output,
                in_flight.lease,
                call_id=in_flight.call_id if at_once else None,
            ),
            Exception,
            RetryLog(_log, "ledger.unavailable", "settling a call must wait"),
            timeout_seconds=_STORE_SECONDS,
        )
        in_flight.dispatched = False
        return settled

    async def _store(
        self, in_flight: InFlightCall, draft: ReplyDraft, result: AttemptResult
    ) -> ReplyFile | None:
        """Store a reply; None when another reply is stored already.

        When that fails for good, the attempt has failed, unless its reply is kept.
        """
        try:
            return await retry(
                partial(self._put, in_flight, draft, result),
                Exception,
                RetryLog(_log, "reply_storage.unavailable", "storing a reply must wait"),
                timeout_seconds=_STORE_SECONDS,
            )
        except Exception as error:
            if not in_flight.reply_kept:
                reason = error.reason if isinstance(error, DomainError) else type(error).__name__
                failed = _failed(result, f"the reply could not be stored: {reason}")
                await self.end_attempt(in_flight, draft.attempt, failed, call_ends=True)
            raise

    async def _settle_with_stored(
        self, in_flight: InFlightCall, number: int, result: AttemptResult
    ) -> LlmCall:
        """Settle with the reply of an earlier attempt, which was stored after all."""
        request, failed = in_flight.request, _failed(result, DISPLACED)
        await self.end_attempt(in_flight, number, failed, call_ends=False)

        async def settle() -> LlmCall | None:
            call, _ = await self._reservations.look_up(request.tenant_id, request.key)
            try:
                if call is None or call.state is CallState.SETTLED:
                    return call
                return await self._recovery.settle(request.tenant_id, call, in_flight.lease)
            except ReplyDisplaced:
                return None

        settled = await retry(
            settle,
            is_transient_once_paid,
            RetryLog(_log, "ledger.unavailable", "settling with a stored reply must wait"),
            timeout_seconds=_STORE_SECONDS,
        )
        if settled is None:
            await self.end_attempt(in_flight, number, failed, call_ends=True)
            raise ReplyDisplaced(number)
        return settled

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
            return
        number = in_flight.attempt
        if in_flight.reply is not None:  # whether it was stored is unknown
            draft = await self._replies.draft(
                in_flight.reply, request.digest, number, result.provider_request_id
            )
            await self._keep(in_flight, draft, result)
            if in_flight.reply_kept:
                await self._kept_replies.release(tenant_id, key, lease)
                return
            result = replace(result, state=CallState.UNKNOWN, error=ABANDONED)
        await self._outcomes.end_attempt(tenant_id, key, number, result, lease, call_ends=True)

    async def _put(
        self, in_flight: InFlightCall, draft: ReplyDraft, result: AttemptResult
    ) -> ReplyFile | None:
        """Store a reply, or keep it and raise why it cannot be stored."""
        request = in_flight.request
        try:
            return await self._replies.put(request.tenant_id, request.key, draft)
        except Exception:
            in_flight.storing_failed = True
            await self._keep(in_flight, draft, result)
            raise

    async def _keep(
        self, in_flight: InFlightCall, draft: ReplyDraft, result: AttemptResult
    ) -> None:
        if not in_flight.reply_kept:
            request = in_flight.request
            in_flight.reply_kept = await self._kept_replies.keep(
                request.tenant_id, request.key, draft, result
            )


def _failed(result: AttemptResult, message: str) -> AttemptResult:
    return replace(result, state=CallState.FAILED, error=message)
