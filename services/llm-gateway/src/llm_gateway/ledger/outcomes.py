"""Recording what became of attempts, and of their calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataplane import audit
from llm_gateway.domain.calls import CallState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dataplane.pools import Connection
    from dataplane.tenants import TenantPools
    from llm_gateway.domain.calls import Call, CallKey, Ending, Lease, Output, Plan
    from llm_gateway.store.attempts import AttemptStore
    from llm_gateway.store.calls import CallStore
    from llm_gateway.store.transitions import CallTransitions


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
    ) -> None:
        self._tenants = tenants
        self._calls = calls
        self._transitions = transitions
        self._attempts = attempts

    async def next_attempt(
        self, tenant_id: str, key: CallKey, number: int, plan: Plan, lease: Lease
    ) -> None:
        """Record another attempt about to be sent. Raises LeaseLost."""
        async with self._tenants.transaction(tenant_id) as connection:
            call = await self._held(connection, key, lease)
            if call is None:
                raise LeaseLost
            if call.last_attempt >= number:
                return
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
    ) -> None:
        """Record an attempt that gave no reply; the call ends with it, or is held for another."""
        async with self._tenants.transaction(tenant_id) as connection:
            call = await self._held(connection, key, lease, ending=(number, ending))
            if call is not None and call_ends:
                await self._transitions.end(connection, call.id, ending.state)
            elif call is not None:
                await self._transitions.keep(connection, call.id, lease)

    async def lose_attempt(
        self, tenant_id: str, key: CallKey, lease: Lease, why: str, *, call_ends: bool
    ) -> None:
        """Record that nobody knows what became of the open attempt; its estimate stays."""
        async with self._tenants.transaction(tenant_id) as connection:
            call = await self._held(connection, key, lease)
            if call is None or not call.open_attempt:
                return
            await self._attempts.lose(connection, call.id, call.open_attempt, why)
            await self._transitions.add_up(connection, call.id)
            if call_ends:
                await self._transitions.end(connection, call.id, CallState.UNKNOWN)
            else:
                await self._transitions.keep(connection, call.id, lease)

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

        None when another process holds the call now: it will find the stored reply. To know the
        call's id saves time.
        """
        async with self._tenants.transaction(tenant_id) as connection:
            quickly = call_id is not None and await self._transitions.settle_held(
                connection, call_id, number, ending, output, lease
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
        call = await self._held(connection, key, lease, ending=(number, ending))
        if call is not None:
            await self._transitions.settle(connection, call.id, output, ending.price_id)
        return call is not None

    async def renew(self, tenant_id: str, call_ids: Sequence[int], lease: Lease) -> None:
        """Extend the leases of calls that this process still holds."""
        async with self._tenants.connection(tenant_id) as connection:
            await self._transitions.renew(connection, call_ids, lease)

    async def _held(
        self,
        connection: Connection,
        key: CallKey,
        lease: Lease,
        *,
        ending: tuple[int, Ending] | None = None,
    ) -> Call | None:
        """Take a call's row, record an attempt's ending; None when the call is not ours any more.

        A call given up as unknown by another process is ours again as long as nobody has taken it.
        """
        call = await self._calls.lock(connection, key)
        if call is None:
            return None
        if ending is not None:
            number, how = ending
            await self._attempts.end(connection, call.id, number, how)
            if how.cut_at_tokens is not None:
                await self._attempts.mark_cut(connection, call.id, number, how.cut_at_tokens)
            await self._transitions.add_up(connection, call.id)
        ours = call.lease_owner == lease.owner
        forsaken = call.lease_owner is None and call.state is CallState.UNKNOWN
        return call if ours or forsaken else None

    async def _settled(self, connection: Connection, key: CallKey) -> Call | None:
        call = await self._calls.find(connection, key)
        return call if call is not None and call.state is CallState.SETTLED else None


def _facts(call: Call | None, number: int) -> Mapping[str, object]:
    if call is None:
        return {}
    chosen = call.resolution
    return {"model": chosen.model_id, "attempt": number, "cost_micro_usd": call.cost_micro_usd}
