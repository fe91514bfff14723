"""Executing a call: from a key to a settled call, whatever dies on the way.

Nothing is sent before the attempt is committed as dispatched, and a call is settled with its reply
in one transaction. So what a dead process leaves is an open attempt, whose outcome is unknown.

A key is taken for new: one statement claims it, and does nothing if it is not. Only then the ledger
is read.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, TypeVar

from llm_gateway.app.attempt import AttemptFailed, metrics_of, send_attempt
from llm_gateway.app.reply_validation import SchemaValidator
from llm_gateway.app.retry_policy import error_for
from llm_gateway.app.transient_errors import TRANSIENT
from llm_gateway.domain.attempts import CallState, KeyBackoff
from llm_gateway.domain.ledger_entries import NewCall
from llm_gateway.errors import CallOutcomeUnknown
from llm_gateway.ledger.backoff import backoff_with_refusal, check_backoff
from llm_gateway.ledger.outcomes import LeaseLost
from llm_gateway.ledger.reservations import (
    AlreadySettled,
    HeldElsewhere,
    Refused,
    Reserved,
    refuse_another_request,
    refuse_unknown,
)
from llm_gateway.metrics import REPLAYED, RETRIES, RETRIES_DENIED, UNKNOWN
from llm_gateway.routing.overrides import KnownOverrides
from servicekit.call import CallContext, current_call, use_call
from servicekit.errors import DomainError
from servicekit.retries import RetryLog, retry

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from dataplane.pending_work_scheduler import PendingWorkScheduler
    from llm_gateway.app.in_flight import InFlightCall
    from llm_gateway.app.prepare import CallPreparer, PreparedCall
    from llm_gateway.app.recover import CallRecovery
    from llm_gateway.app.retry_policy import RetryPolicy
    from llm_gateway.app.settle import CallSettlement
    from llm_gateway.domain.calls import LlmCall
    from llm_gateway.ledger.outcomes import Outcomes
    from llm_gateway.ledger.reservations import Reservations

T = TypeVar("T")
_POLL_SECONDS = 0.2
_BACKOFF_POLL_SECONDS = 1.0
_log = logging.getLogger(__name__)


class CallExecutor:
    """Executes calls, each in a task of its own."""

    def __init__(
        self,
        pending_work: PendingWorkScheduler,
        reservations: Reservations,
        outcomes: Outcomes,
        preparer: CallPreparer,
        settlement: CallSettlement,
        recovery: CallRecovery,
        retry_policy: RetryPolicy,
    ) -> None:
        self._pending_work = pending_work
        self._reservations = reservations
        self._outcomes = outcomes
        self._preparer = preparer
        self._settlement = settlement
        self._recovery = recovery
        self._retry_policy = retry_policy
        self._overrides = KnownOverrides()
        self._validator = SchemaValidator()

    def forget(self, tenant_id: str) -> None:
        """Forget what is known of a tenant: it has changed, or is gone."""
        self._overrides.forget(tenant_id)

    async def execute(self, in_flight: InFlightCall) -> LlmCall:
        """Return the settled call, whoever still waits for it. Raises DomainError."""
        with use_call(_without_deadline()):
            try:
                settled = await self._execute(in_flight)
                if not in_flight.has_sent:
                    REPLAYED.inc()
                return settled
            except BaseException:
                if in_flight.dispatched:
                    await asyncio.shield(self._settlement.abandon(in_flight))
                raise

    async def _execute(self, in_flight: InFlightCall) -> LlmCall:
        settled = await self._execute_new(in_flight)
        request = in_flight.request
        while settled is None:
            call, override = await self._reservations.look_up(request.tenant_id, request.key)
            self._overrides.remember(request.tenant_id, request.key.step, override)
            if call is not None:
                refuse_another_request(call, request.digest)
                in_flight.owns_key = True
                if call.state is CallState.SETTLED:
                    return call
                if call.held_against(in_flight.lease):
                    in_flight.mark_held_elsewhere()
                    await asyncio.sleep(_POLL_SECONDS)
                    continue
                if not call.held_by(in_flight.lease):
                    check_backoff(call, request.unknown_policy, request.request_id)
                    if call.backoff_seconds > 0:  # its process died between two attempts
                        in_flight.mark_held_elsewhere()
                        await asyncio.sleep(min(call.backoff_seconds, _BACKOFF_POLL_SECONDS))
                        continue
                    settled = await self._recovery.recover(
                        request.tenant_id, call, in_flight.lease, request.unknown_policy
                    )
                    if settled is not None:
                        return settled
                    if call.open_attempt:
                        continue
                refuse_unknown(call, request.unknown_policy)
            prepared = await self._preparer.prepare(request, override)
            settled = await self._reserve_and_send(in_flight, prepared)
        return settled

    async def _execute_new(self, in_flight: InFlightCall) -> LlmCall | None:
        """Reserve the key as a new one and send; None when the ledger has to be read before."""
        request = in_flight.request
        override = self._overrides.find(request.tenant_id, request.key.step)
        try:
            prepared = await self._preparer.prepare(request, override)
        except DomainError:
            return None  # the key may have its reply already, or the override is another one
        new = NewCall(request, prepared.reservation, prepared.override, in_flight.lease)
        call_id, asked_at = await self._reserve(in_flight, new, self._reservations.reserve_new)
        if call_id is None:
            return None
        in_flight.mark_reserved(call_id, asked_at)
        return await self._send(in_flight, prepared, Reserved(call_id, 1, 1))

    async def _reserve_and_send(
        self, in_flight: InFlightCall, prepared: PreparedCall
    ) -> LlmCall | None:
        """Reserve the key and send; None when another process holds it."""
        new = NewCall(in_flight.request, prepared.reservation, prepared.override, in_flight.lease)
        outcome, asked_at = await self._reserve(in_flight, new, self._reservations.reserve)
        if isinstance(outcome, AlreadySettled):
            return outcome.call
        if isinstance(outcome, Refused):
            raise outcome.error
        if isinstance(outcome, HeldElsewhere):
            in_flight.mark_held_elsewhere()
            await asyncio.sleep(_POLL_SECONDS)
            return None
        in_flight.mark_reserved(outcome.call_id, asked_at)
        return await self._send(in_flight, prepared, outcome)

    async def _reserve(
        self, in_flight: InFlightCall, new: NewCall, reserve: Callable[[NewCall], Awaitable[T]]
    ) -> tuple[T, float]:
        """Return what became of it, and when the lease was asked for (of time.monotonic)."""

        async def attempt() -> tuple[T, float]:
            await self._pending_work.schedule(new.request.tenant_id)
            asked_at = time.monotonic()
            return await reserve(new), asked_at

        return await retry(
            attempt,
            TRANSIENT,
            RetryLog(_log, "ledger.unavailable", "reserving a key must wait"),
            timeout_seconds=in_flight.deadline - time.monotonic(),
        )

    async def _send(
        self, in_flight: InFlightCall, prepared: PreparedCall, reserved: Reserved
    ) -> LlmCall | None:
        """Make attempts until one succeeds or no more may follow. Raises DomainError.

        None when another process has taken the call over.
        """
        request, provider_id = in_flight.request, prepared.route.provider.id
        policy, number, count = request.unknown_policy, reserved.attempt, reserved.in_round
        if count == 1:
            self._retry_policy.count_call(provider_id)
        while True:
            outcome = await send_attempt(in_flight, prepared, number, self._validator)
            if not isinstance(outcome, AttemptFailed):
                metrics_of(prepared).call_ended("settled")
                resolution = prepared.route.resolution
                return await self._settlement.settle(in_flight, resolution, number, outcome.reply)
            fault, result = outcome.fault, outcome.result
            decision = self._retry_policy.decide(
                fault, count, provider_id, policy, in_flight.deadline
            )
            if decision.delay_seconds is None:
                seconds = self._retry_policy.backoff_seconds(fault, policy)
                error = error_for(
                    fault, number, count, provider_id, policy, backoff=seconds, why=decision.why
                )
                backoff = backoff_with_refusal(error, seconds, request.request_id)
                await self._settlement.end_attempt(
                    in_flight, number, result, call_ends=True, backoff=backoff
                )
                _count_refused(prepared, error, denied=bool(decision.why))
                raise error
            backoff = KeyBackoff(decision.delay_seconds, None)
            await self._settlement.end_attempt(
                in_flight, number, result, call_ends=False, backoff=backoff
            )
            await asyncio.sleep(decision.delay_seconds)
            number, count = number + 1, count + 1
            if not await self._record_next(in_flight, prepared, number):
                return None

    async def _record_next(
        self, in_flight: InFlightCall, prepared: PreparedCall, number: int
    ) -> bool:
        """Record another attempt; return whether this process still holds the call."""
        request = in_flight.request

        async def record() -> float:
            asked_at = time.monotonic()
            await self._outcomes.next_attempt(
                request.tenant_id, request.key, number, prepared.reservation, in_flight.lease
            )
            return asked_at

        try:
            asked_at = await retry(
                record,
                TRANSIENT,
                RetryLog(_log, "ledger.unavailable", "recording an attempt must wait"),
                timeout_seconds=in_flight.deadline - time.monotonic(),
            )
        except LeaseLost:
            return False
        RETRIES.labels(prepared.route.provider.id).inc()
        in_flight.mark_dispatched(asked_at)
        return True


def _count_refused(prepared: PreparedCall, error: DomainError, *, denied: bool) -> None:
    """Count a call that ends without a reply."""
    unknown = isinstance(error, CallOutcomeUnknown)
    metrics_of(prepared).call_ended("unknown" if unknown else "failed")
    if unknown:
        UNKNOWN.labels("connection_lost").inc()
    if denied:
        RETRIES_DENIED.labels(prepared.route.provider.id).inc()


def _without_deadline() -> CallContext:
    """Return the server call of this task without its deadline, which this work outlives."""
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
