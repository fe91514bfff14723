"""Recording what became of attempts, and of their calls. `settlements` ends those with a reply."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm_gateway.domain.attempts import CallState
from llm_gateway.store import attempts, calls, transitions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dataplane.pools import Connection
    from dataplane.tenants import TenantPools
    from llm_gateway.domain.attempts import AttemptResult, AttemptUsage, KeyBackoff, Reservation
    from llm_gateway.domain.calls import CallKey, CallLease, LlmCall


class LeaseLost(Exception):
    """Another process has taken the call over; this attempt's result has been recorded."""


class Outcomes:
    """Transactions at the end of an attempt. Each may be called again when its answer was lost."""

    def __init__(self, tenants: TenantPools) -> None:
        self._tenants = tenants

    async def next_attempt(
        self,
        tenant_id: str,
        key: CallKey,
        number: int,
        reservation: Reservation,
        lease: CallLease,
    ) -> None:
        """Record another attempt about to be sent. Raises LeaseLost."""
        async with self._tenants.transaction(tenant_id) as connection:
            call = await calls.lock(connection, key)
            if call is None or not call.held_by(lease):
                raise LeaseLost
            if call.open_attempt == number:  # the answer to our first try was lost
                return
            if call.last_attempt >= number:  # another process's, from when it held the call
                raise LeaseLost
            await transitions.dispatch(connection, call.id, reservation.resolution, lease)
            await attempts.insert(connection, call.id, number, reservation)

    async def end_attempt(
        self,
        tenant_id: str,
        key: CallKey,
        number: int,
        result: AttemptResult,
        lease: CallLease,
        *,
        call_ends: bool,
        backoff: KeyBackoff | None = None,
    ) -> None:
        """Record an attempt that gave no reply; the call ends with it, or is held for another.

        `backoff` says when something may be sent again. A call that another process took over is
        left to that process, or as it left it.
        """
        async with self._tenants.transaction(tenant_id) as connection:
            call = await calls.lock(connection, key)
            if call is None:
                return
            await record_result(connection, call, number, result)
            held = call.held_by(lease)
            if backoff is not None and (held or call.abandoned):
                await attempts.set_backoff(connection, call.id, number, backoff)
            if held and not call_ends:
                await transitions.hold(connection, call.id, lease)
            elif held or call.abandoned:
                others = [a.state for a in call.attempts if a.number != number]
                state = CallState.UNKNOWN if CallState.UNKNOWN in others else result.state
                await transitions.end(connection, call.id, state)

    async def mark_unknown(
        self, tenant_id: str, key: CallKey, lease: CallLease, why: str, *, call_ends: bool
    ) -> None:
        """Record that the outcome of the open attempt is unknown; its estimate stays.

        Nothing is changed while another process is working on the call.
        """
        async with self._tenants.transaction(tenant_id) as connection:
            call = await calls.lock(connection, key)
            if call is None or not call.open_attempt or call.held_against(lease):
                return
            await attempts.mark_unknown(connection, call.id, call.open_attempt, why)
            await transitions.update_totals(connection, call.id)
            if call_ends:
                await transitions.end(connection, call.id, CallState.UNKNOWN)
            else:
                await transitions.hold(connection, call.id, lease)

    async def end_expired(self, tenant_id: str, key: CallKey, why: str) -> None:
        """End a call whose lease has expired; an attempt of it that is still open is unknown.

        Nothing is changed when no process held it any more, or when one does again.
        """
        async with self._tenants.transaction(tenant_id) as connection:
            call = await calls.lock(connection, key)
            if call is None or call.lease_owner is None or call.lease_live:
                return
            if call.open_attempt:
                await attempts.mark_unknown(connection, call.id, call.open_attempt, why)
                await transitions.update_totals(connection, call.id)
            unknown = call.open_attempt or call.unknown_attempt
            state = CallState.UNKNOWN if unknown else CallState.FAILED
            await transitions.end(connection, call.id, state)

    async def renew_leases(
        self, tenant_id: str, call_ids: Sequence[int], lease: CallLease
    ) -> list[int]:
        """Extend the leases of calls that this process holds; return the ids of those."""
        async with self._tenants.connection(tenant_id) as connection:
            return await transitions.renew_leases(connection, call_ids, lease)

    async def update_usage(self, tenant_id: str, usages: Sequence[AttemptUsage]) -> None:
        """Record what attempts in flight have used so far."""
        async with self._tenants.connection(tenant_id) as connection:
            await attempts.update_usage(connection, usages)


async def record_result(
    connection: Connection, call: LlmCall, number: int, result: AttemptResult
) -> None:
    """Record what became of an attempt, inside the transaction that locked its call."""
    await attempts.end(connection, call.id, number, result)
    if result.cut_at_tokens is not None:
        await attempts.mark_cut(connection, call.id, number, result.cut_at_tokens)
    if result.reply_refused:
        await attempts.mark_refused(connection, call.id, number)
    if result.provider_error or result.unusable is not None or result.reply_digest:
        await attempts.set_provider_error(connection, call.id, number, result)
    if result.note:
        await attempts.set_note(connection, call.id, number, result.note)
    await transitions.update_totals(connection, call.id)
