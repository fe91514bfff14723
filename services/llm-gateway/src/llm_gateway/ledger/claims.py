"""Taking a key: the one transaction after which exactly one process may send."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from llm_gateway.domain.calls import CallState, Useless
from llm_gateway.domain.requests import UnknownPolicy
from llm_gateway.errors import (
    CallKeyReused,
    CallOutcomeUnknown,
    ReplyCut,
    ReplyEmpty,
    ReplyIncomplete,
    ReplyRefused,
    ReplyRepeated,
)
from llm_gateway.ledger.bounds import (
    FINAL,
    MAX_ATTEMPTS,
    bound_of,
    refuse_too_early,
    used_up,
    wait_told,
)

if TYPE_CHECKING:
    from dataplane.pools import Connection
    from dataplane.tenants import TenantPools
    from llm_gateway.domain.calls import Call, CallKey, Lease, Plan
    from llm_gateway.domain.models import ModelClass
    from llm_gateway.store.attempts import AttemptStore
    from llm_gateway.store.calls import CallStore
    from llm_gateway.store.transitions import CallTransitions
    from servicekit.errors import DomainError


_USELESS = {
    Useless.INCOMPLETE: ReplyIncomplete,
    Useless.EMPTY: ReplyEmpty,
    Useless.REPEATED: ReplyRepeated,
}


@dataclass(frozen=True, slots=True)
class Request:
    """Who asks what under which key."""

    key: CallKey
    digest: str
    policy: UnknownPolicy
    user_id: str
    request_id: str


@dataclass(frozen=True, slots=True)
class Granted:
    """The attempt is recorded and may be sent, once, by whoever holds this."""

    call_id: int
    attempt: int
    tried: int
    """How many attempts of the same round there are, this one included."""


@dataclass(frozen=True, slots=True)
class Stored:
    """The reply is there already."""

    call: Call


@dataclass(frozen=True, slots=True)
class Held:
    """Another process is at work on it, or was when it died; or its pause is not over."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing more is sent for now."""

    error: DomainError


Claim: TypeAlias = Granted | Stored | Held | Refused


class Claims:
    def __init__(
        self,
        tenants: TenantPools,
        calls: CallStore,
        transitions: CallTransitions,
        attempts: AttemptStore,
        pause_seconds: float,
    ) -> None:
        self._pause_seconds = pause_seconds
        self._tenants = tenants
        self._calls = calls
        self._transitions = transitions
        self._attempts = attempts

    async def look(self, tenant_id: str, key: CallKey) -> tuple[Call | None, ModelClass | None]:
        """Return the call of a key, and the tenant's override for its step."""
        async with self._tenants.connection(tenant_id) as connection:
            return await self._calls.look(connection, key)

    async def claim(self, tenant_id: str, request: Request, plan: Plan, lease: Lease) -> Claim:
        """Take a key, and record the attempt that is about to be sent.

        The same claim again, by the same lease owner, finds what the first one left. Raises
        RunNotFound, CallKeyReused, CallOutcomeUnknown, ReplyCut, ReplyEmpty, ReplyIncomplete,
        ReplyRefused, and what was told when a pause began that is not over.
        """
        key, digest = request.key, request.digest
        async with self._tenants.connection(tenant_id) as connection:
            call_id = await self._transitions.reserve(
                connection, key, digest, plan, lease, request.user_id
            )
        if call_id is not None:
            return Granted(call_id, 1, 1)
        async with self._tenants.transaction(tenant_id) as connection:
            call = await self._calls.lock(connection, key)
            if call is None:
                return Held()  # whoever had it has just been rolled back
            return await self._take(connection, call, request, plan, lease)

    async def _take(
        self, connection: Connection, call: Call, request: Request, plan: Plan, lease: Lease
    ) -> Claim:
        refuse_another_request(call, request.digest)
        if call.state is CallState.SETTLED:
            return Stored(call)
        if not call.held_by(lease) and (call.lease_live or call.open_attempt):
            return Held()
        if call.open_attempt:  # the answer to our first claim was lost, and nothing was sent
            return Granted(call.id, call.open_attempt, call.tried)
        refuse_unknown(call, request.policy)
        refuse_too_early(call, request.policy, request.request_id)
        _refuse_useless(call, plan)
        if call.pause_seconds > 0:
            return Held()
        if call.tried >= MAX_ATTEMPTS:
            return await self._end_round(connection, call, plan)
        await self._transitions.dispatch(connection, call.id, plan.resolution, lease)
        await self._attempts.insert(connection, call.id, call.last_attempt + 1, plan)
        return Granted(call.id, call.last_attempt + 1, call.tried + 1)

    async def _end_round(self, connection: Connection, call: Call, plan: Plan) -> Refused:
        """Let a key rest whose attempts died with their processes one after another."""
        error = used_up(call.attempts[-1], plan.resolution.provider_id)
        wait_told(error, self._pause_seconds)
        bound = bound_of(error, self._pause_seconds, "")
        await self._attempts.bind(connection, call.id, call.last_attempt, bound)
        state = CallState.UNKNOWN if call.unknown_attempt else CallState.FAILED
        await self._transitions.end(connection, call.id, state)
        return Refused(error)


def refuse_another_request(call: Call, digest: str) -> None:
    """Raise CallKeyReused if the key was used for a request of another digest."""
    if call.request_digest != digest:
        raise CallKeyReused(call.request_digest)


def refuse_unknown(call: Call, policy: UnknownPolicy) -> None:
    """Raise CallOutcomeUnknown if an attempt may have been paid and the policy is to fail."""
    paid = call.unknown_attempt or call.reply_attempt
    if paid and policy is UnknownPolicy.FAIL:
        raise CallOutcomeUnknown(paid)


def _refuse_useless(call: Call, plan: Plan) -> None:
    """Raise what was told before if the reply would be paid for and of no use once more."""
    attempt = call.useless_attempt(plan)
    if attempt is None:
        return
    provider_id, cut_at = plan.resolution.provider_id, attempt.cut_at_tokens
    if attempt.useless is not None:
        kind = _USELESS[attempt.useless]
    else:
        kind = ReplyRefused if cut_at is None else ReplyCut
    error = kind(f"{provider_id}: {attempt.error}")
    error.metadata |= {"provider_id": provider_id, "http_status": str(attempt.http_status)}
    error.metadata["attempt"] = str(attempt.number)
    if attempt.useless is Useless.REPEATED:
        error.metadata[FINAL] = "true"
    if cut_at is not None:
        error.metadata["limit_tokens"] = str(cut_at)
    raise error
