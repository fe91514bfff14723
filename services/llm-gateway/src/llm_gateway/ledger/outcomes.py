"""Recording what became of attempts, and of their calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataplane import audit
from llm_gateway.domain.calls import CallState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dataplane.pools import Connection
    from dataplane.tenants import TenantPools
    from llm_gateway.domain.calls import Bound, Call, CallKey, Ending, Lease, Output, Plan, Spent
    from llm_gateway.store.attempts import AttemptStore
    from llm_gateway.store.calls import CallStore
    from llm_gateway.store.replies import ReplyStore
    from llm_gateway.store.transitions import CallTransitions


DISPLACED = "another reply had been stored before"
_FORESTALLED = "the process that sent it died; the reply of another attempt was stored"


class LeaseLost(Exception):
    """Another process has taken the call over; what we know of our attempt has been recorded."""


class Outcomes:
    """Each method may be called again when its answer was lost."""

    def __init__(
        self,
        tenants: TenantPools,
        calls: CallStore,
        transitions: CallTransitions,
        attempts: AttemptStore,
        replies: ReplyStore,
    ) -> None:
        self._tenants = tenants
        self._calls = calls
        self._transitions = transitions
        self._attempts = attempts
        self._replies = replies

    async def next_attempt(
        self, tenant_id: str, key: CallKey, number: int, plan: Plan, lease: Lease
    ) -> None:
        """Record another attempt about to be sent. Raises LeaseLost."""
        async with self._tenants.transaction(tenant_id) as connection:
            call = await self._calls.lock(connection, key)
            if call is None or not call.held_by(lease):
                raise LeaseLost
            if call.open_attempt == number:  # the answer to our first try was lost
                return
            if call.last_attempt >= number:  # another process's, from when it held the call
                raise LeaseLost
            await self._transitions.dispatch(connection, call.id, plan.resolution, lease)
            await self._attempts.insert(connection, call.id, number, plan)

    async def end_attempt(
        self,
        tenant_id: str,
        key: CallKey,
        number: int,
        ending: Ending,
        lease: Lease,
        *,
        call_ends: bool,
        bound: Bound | None = None,
    ) -> None:
        """Record an attempt that gave no reply; the call ends with it, or is held for another.

        `bound` says when something may be sent again. A call that another process took over is left
        to it, or to what it left behind.
        """
        async with self._tenants.transaction(tenant_id) as connection:
            call = await self._calls.lock(connection, key)
            if call is None:
                return
            await self.record(connection, call, number, ending)
            held = call.held_by(lease)
            if bound is not None and (held or call.given_up):
                await self._attempts.bind(connection, call.id, number, bound)
            if held and not call_ends:
                await self._transitions.keep(connection, call.id, lease)
            elif held or call.given_up:
                others = [a.state for a in call.attempts if a.number != number]
                state = CallState.UNKNOWN if CallState.UNKNOWN in others else ending.state
                await self._transitions.end(connection, call.id, state)

    async def lose_attempt(
        self, tenant_id: str, key: CallKey, lease: Lease, why: str, *, call_ends: bool
    ) -> None:
        """Record that nobody knows what became of the open attempt; its estimate stays.

        Nothing is changed while another process is at work on the call.
        """
        async with self._tenants.transaction(tenant_id) as connection:
            call = await self._calls.lock(connection, key)
            if call is None or not call.open_attempt or call.held_against(lease):
                return
            await self._attempts.lose(connection, call.id, call.open_attempt, why)
            await self._transitions.add_up(connection, call.id)
            if call_ends:
                await self._transitions.end(connection, call.id, CallState.UNKNOWN)
            else:
                await self._transitions.keep(connection, call.id, lease)

    async def give_up(self, tenant_id: str, key: CallKey, why: str) -> None:
        """End a call whose lease has run out; an attempt of it that is still open is unknown.

        Nothing is changed when nobody held it any more, or when somebody does again.
        """
        async with self._tenants.transaction(tenant_id) as connection:
            call = await self._calls.lock(connection, key)
            if call is None or call.lease_owner is None or call.lease_live:
                return
            if call.open_attempt:
                await self._attempts.lose(connection, call.id, call.open_attempt, why)
                await self._transitions.add_up(connection, call.id)
            unknown = call.open_attempt or call.unknown_attempt
            state = CallState.UNKNOWN if unknown else CallState.FAILED
            await self._transitions.end(connection, call.id, state)

    async def settle(
        self,
        tenant_id: str,
        key: CallKey,
        number: int,
        ending: Ending,
        output: Output,
        lease: Lease,
        *,
        call_id: int | None = None,
    ) -> Call | None:
        """Record an attempt whose reply is stored, and settle its call with it.

        None when another process is at work on the call: it will find the stored reply. To know the
        id of a call whose first attempt this is saves time.
        """
        async with self._tenants.transaction(tenant_id) as connection:
            quickly = (
                call_id is not None
                and not (ending.note or ending.told)
                and await self._transitions.settle_first(connection, call_id, ending, output, lease)
            )
            if not (quickly or await self._settle(connection, key, number, ending, output, lease)):
                return await self._settled(connection, key)
            settled = await self._settled(connection, key)
            await audit.append(connection, "call.settle", "call", str(key), _facts(settled, number))
            return settled

    async def _settle(
        self,
        connection: Connection,
        key: CallKey,
        number: int,
        ending: Ending,
        output: Output,
        lease: Lease,
    ) -> bool:
        call = await self._calls.lock(connection, key)
        if call is None:
            return False
        await self.record(connection, call, number, ending)
        if call.state is CallState.SETTLED or call.held_against(lease):
            return False
        kept = await self._replies.drop(connection, call.id)
        if kept not in (None, number):
            await self._attempts.displace(connection, call.id, kept, DISPLACED)
        if call.open_attempt not in (0, number):
            await self._attempts.lose(connection, call.id, call.open_attempt, _FORESTALLED)
        await self._transitions.settle(connection, call.id, output, ending.price_id)
        return True

    async def renew(
        self, tenant_id: str, call_ids: Sequence[int], spent: Sequence[Spent], lease: Lease
    ) -> None:
        """Extend the leases of calls that this process still holds, and note what they spend."""
        async with self._tenants.connection(tenant_id) as connection:
            await self._transitions.renew(connection, call_ids, lease)
            if spent:
                await self._attempts.estimate(connection, spent)

    async def record(self, connection: Connection, call: Call, number: int, ending: Ending) -> None:
        """Record what is known of an attempt, inside the transaction that locked its call."""
        await self._attempts.end(connection, call.id, number, ending)
        if ending.cut_at_tokens is not None:
            await self._attempts.mark_cut(connection, call.id, number, ending.cut_at_tokens)
        if ending.reply_refused:
            await self._attempts.mark_refused(connection, call.id, number)
        if ending.told or ending.useless is not None or ending.reply_digest:
            await self._attempts.tell(connection, call.id, number, ending)
        if ending.note:
            await self._attempts.note(connection, call.id, number, ending.note)
        await self._transitions.add_up(connection, call.id)

    async def _settled(self, connection: Connection, key: CallKey) -> Call | None:
        call = await self._calls.find(connection, key)
        return call if call is not None and call.state is CallState.SETTLED else None


def _facts(call: Call | None, number: int) -> Mapping[str, object]:
    if call is None:
        return {}
    chosen = call.resolution
    return {"model": chosen.model_id, "attempt": number, "cost_micro_usd": call.cost_micro_usd}
