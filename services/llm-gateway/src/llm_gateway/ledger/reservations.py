"""Reserving a key: the one statement or transaction after which exactly one process may send."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import asyncpg

from llm_gateway.domain.attempts import CallState, UnusableReply
from llm_gateway.domain.requests import UnknownPolicy
from llm_gateway.errors import (
    CallKeyReused,
    CallOutcomeUnknown,
    ReplyCut,
    ReplyEmpty,
    ReplyIncomplete,
    ReplyRefused,
    ReplyRepeated,
    RunNotFound,
)
from llm_gateway.ledger.backoff import (
    FINAL,
    MAX_ATTEMPTS,
    attempts_exhausted,
    backoff_with_refusal,
    check_backoff,
    with_retry_after,
)
from llm_gateway.store import attempts, calls, fast_path, transitions
from servicekit.batches import Batcher, Limits

if TYPE_CHECKING:
    from dataplane.pools import Connection
    from dataplane.tenants import TenantPools
    from llm_gateway.domain.attempts import Reservation
    from llm_gateway.domain.calls import CallKey, LlmCall
    from llm_gateway.domain.ledger_entries import NewCall
    from llm_gateway.domain.models import ModelClass
    from servicekit.errors import DomainError


_ERRORS = {
    UnusableReply.INCOMPLETE: ReplyIncomplete,
    UnusableReply.EMPTY: ReplyEmpty,
    UnusableReply.REPEATED: ReplyRepeated,
}


@dataclass(frozen=True, slots=True)
class Reserved:
    """The attempt is recorded as dispatched: whoever gets this may send it, once."""

    call_id: int
    attempt: int
    in_round: int
    """How many attempts the round has, this one included."""


@dataclass(frozen=True, slots=True)
class AlreadySettled:
    """The call has its reply."""

    call: LlmCall


@dataclass(frozen=True, slots=True)
class HeldElsewhere:
    """Another process holds the call, or held it when it died; or its backoff is not over."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing more is sent for now."""

    error: DomainError


_LIMITS = Limits(weight=256)

ReserveOutcome: TypeAlias = Reserved | AlreadySettled | HeldElsewhere | Refused


class Reservations:
    """Looks keys up in the ledger, and reserves them."""

    def __init__(self, tenants: TenantPools, backoff_seconds: float) -> None:
        self._tenants = tenants
        self._backoff_seconds = backoff_seconds
        self._batches = Batcher(self._reserve_batch, _LIMITS)

    async def look_up(
        self, tenant_id: str, key: CallKey
    ) -> tuple[LlmCall | None, ModelClass | None]:
        """Return the call of a key, and the tenant's override for its step."""
        async with self._tenants.connection(tenant_id) as connection:
            return await calls.find_with_override(connection, key)

    async def reserve_new(self, new: NewCall) -> int | None:
        """Reserve a key that is taken for new, and return the id of its call.

        None when the key is taken or the tenant's override is another one. Raises RunNotFound.
        """
        request = new.request
        try:
            return await self._batches.submit(request.tenant_id, (request.key,), new)
        except asyncpg.ForeignKeyViolationError:
            raise RunNotFound(str(request.key.run_id)) from None

    async def reserve(self, new: NewCall) -> ReserveOutcome:
        """Reserve a key, and record the attempt that is about to be sent.

        May be called again when its answer was lost: the same lease owner finds what the first call
        left. Raises RunNotFound, CallKeyReused, CallOutcomeUnknown, ReplyCut, ReplyEmpty,
        ReplyIncomplete, ReplyRefused, and the last refusal again while its backoff is not over.
        """
        call_id = await self.reserve_new(new)
        if call_id is not None:
            return Reserved(call_id, 1, 1)
        request = new.request
        async with self._tenants.transaction(request.tenant_id) as connection:
            call = await calls.lock(connection, request.key)
            if call is None:
                return HeldElsewhere()  # rolled back by now, or the override has changed
            return await self._take_over(connection, call, new)

    async def _reserve_batch(self, tenant_id: str, batch: list[NewCall]) -> list[int | None]:
        async with self._tenants.connection(tenant_id) as connection:
            return await fast_path.reserve(connection, batch)

    async def _take_over(
        self,
        connection: Connection,
        call: LlmCall,
        new: NewCall,
    ) -> ReserveOutcome:
        request, reservation, lease = new.request, new.reservation, new.lease
        refuse_another_request(call, request.digest)
        if call.state is CallState.SETTLED:
            return AlreadySettled(call)
        if not call.held_by(lease) and (call.lease_live or call.open_attempt):
            return HeldElsewhere()
        if call.open_attempt:  # the answer to our first call was lost, and nothing was sent
            return Reserved(call.id, call.open_attempt, call.attempts_in_round)
        refuse_unknown(call, request.unknown_policy)
        check_backoff(call, request.unknown_policy, request.request_id)
        _refuse_unusable(call, reservation)
        if call.backoff_seconds > 0:
            return HeldElsewhere()
        if call.attempts_in_round >= MAX_ATTEMPTS:
            return await self._end_round(connection, call, reservation)
        number = call.last_attempt + 1
        await transitions.dispatch(connection, call.id, reservation.resolution, lease)
        await attempts.insert(connection, call.id, number, reservation)
        return Reserved(call.id, number, call.attempts_in_round + 1)

    async def _end_round(
        self, connection: Connection, call: LlmCall, reservation: Reservation
    ) -> Refused:
        """End a round whose attempts died with their processes, and let its key back off."""
        error = attempts_exhausted(call.attempts[-1], reservation.resolution.provider_id)
        with_retry_after(error, self._backoff_seconds)
        backoff = backoff_with_refusal(error, self._backoff_seconds, "")
        await attempts.set_backoff(connection, call.id, call.last_attempt, backoff)
        state = CallState.UNKNOWN if call.unknown_attempt else CallState.FAILED
        await transitions.end(connection, call.id, state)
        return Refused(error)


def refuse_another_request(call: LlmCall, digest: str) -> None:
    """Raise CallKeyReused if the key was used for a request of another digest."""
    if call.request_digest != digest:
        raise CallKeyReused(call.request_digest)


def refuse_unknown(call: LlmCall, policy: UnknownPolicy) -> None:
    """Raise CallOutcomeUnknown if an attempt may have been paid and the policy is to fail."""
    paid = call.unknown_attempt or call.reply_attempt
    if paid and policy is UnknownPolicy.FAIL:
        raise CallOutcomeUnknown(paid)


def _refuse_unusable(call: LlmCall, reservation: Reservation) -> None:
    """Raise the error of an earlier attempt if this one would pay for an unusable reply again."""
    attempt = call.unusable_attempt(reservation)
    if attempt is None:
        return
    provider_id, cut_at = reservation.resolution.provider_id, attempt.cut_at_tokens
    if attempt.unusable is not None:
        kind = _ERRORS[attempt.unusable]
    else:
        kind = ReplyRefused if cut_at is None else ReplyCut
    error = kind(f"{provider_id}: {attempt.error}")
    error.metadata |= {"provider_id": provider_id, "http_status": str(attempt.http_status)}
    error.metadata["attempt"] = str(attempt.number)
    if attempt.unusable is UnusableReply.REPEATED:
        error.metadata[FINAL] = "true"
    if cut_at is not None:
        error.metadata["limit_tokens"] = str(cut_at)
    raise error
