"""Settling calls with their replies: in one statement where nothing unusual has happened."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import asyncpg

from dataplane import audit
from llm_gateway.domain.attempts import CallAttempt, CallState
from llm_gateway.domain.calls import LlmCall
from llm_gateway.ledger.outcomes import record_result
from llm_gateway.store import attempts, calls, fast_path, kept_replies, replies, transitions
from servicekit.batches import Batcher, Limits
from servicekit.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dataplane.pools import Connection
    from dataplane.tenants import TenantPools
    from llm_gateway.domain.ledger_entries import FirstSettlement, Settlement

DISPLACED = "another reply had settled the call before"
_FORESTALLED = "the reply of another attempt settled the call"
_BATCH_BYTES = 1 << 20
_ROW_BYTES = 1 << 10  # of a settlement without its reply; about a thousand go into a batch


class TableMissing(DatabaseUnavailable):
    """The tenant's database has no place for replies until its migration has run."""

    def __init__(self) -> None:
        super().__init__("the database has no table for replies until its migration has run")


class Settlements:
    """Settles calls. Each method may be called again when its answer was lost."""

    def __init__(self, tenants: TenantPools) -> None:
        self._tenants = tenants
        self._batches = Batcher(self._settle_batch, Limits(_BATCH_BYTES))

    async def settle_first(self, first: FirstSettlement) -> LlmCall | None:
        """Settle a call by its first and only attempt; None where `settle` has to decide.

        Raises TableMissing.
        """
        if first.settlement.result.provider_error:
            return None
        tenant_id, weight = first.request.tenant_id, len(first.body) + _ROW_BYTES
        try:
            if weight > _BATCH_BYTES:  # a long reply delays nobody else's
                (row,) = await self._settle_batch(tenant_id, [first])
            else:
                row = await self._batches.submit(tenant_id, (first.call_id,), first, weight)
        except asyncpg.UndefinedTableError:
            raise TableMissing from None
        return None if row is None else _settled(first, row)

    async def settle(self, tenant_id: str, settlement: Settlement) -> LlmCall | None:
        """Record an attempt whose reply is at hand, and settle its call with it, whoever holds it.

        The first reply counts: where the call is settled by another attempt's, this one has failed,
        and the call is returned as it is. None where there is no such call. Raises TableMissing.
        """
        try:
            async with self._tenants.transaction(tenant_id) as connection:
                return await self._settle(connection, settlement)
        except asyncpg.UndefinedTableError:
            raise TableMissing from None

    async def _settle_batch(
        self, tenant_id: str, settlements: list[FirstSettlement]
    ) -> list[asyncpg.Record | None]:
        async with self._tenants.connection(tenant_id) as connection:
            return await fast_path.settle(connection, settlements)

    async def _settle(self, connection: Connection, settlement: Settlement) -> LlmCall | None:
        key, number, result = settlement.key, settlement.attempt, settlement.result
        call = await calls.lock(connection, key)
        if call is None:
            return None
        if call.state is CallState.SETTLED:
            if call.reply_attempt == number:  # the answer to our first try was lost
                return call
            failed = replace(result, state=CallState.FAILED, error=DISPLACED)
            await record_result(connection, call, number, failed)
            return await calls.find(connection, key)
        kept = await kept_replies.delete(connection, call.id)
        if kept not in (None, number):
            await attempts.mark_displaced(connection, call.id, kept, DISPLACED)
        if call.open_attempt not in (0, number):
            await attempts.mark_unknown(connection, call.id, call.open_attempt, _FORESTALLED)
        await record_result(connection, call, number, result)
        if settlement.body is not None:
            await replies.insert(connection, call.id, number, settlement.body)
        await transitions.settle(connection, call.id, settlement.output, result.price_id)
        settled = await calls.find(connection, key)
        details = _audit_details(settled, number)
        await audit.append(connection, "call.settle", "call", str(key), details)
        return settled


def _settled(first: FirstSettlement, row: asyncpg.Record) -> LlmCall:
    """Return a call as the ledger holds it now."""
    request, resolution, result = first.request, first.resolution, first.settlement.result
    if resolution.price_id != result.price_id:
        resolution = replace(resolution, price_id=result.price_id)
    attempt = CallAttempt(
        number=first.settlement.attempt,
        state=result.state,
        model_id=resolution.model_id,
        provider_request_id=result.provider_request_id,
        http_status=result.http_status,
        error=result.error,
        usage=result.usage,
        cost_micro_usd=result.cost_micro_usd,
        estimated=result.estimated,
        dispatched_at=row["dispatched_at"],
        ended_at=row["attempt_ended_at"],
        note=result.note[: attempts.NOTE_CHARACTERS],
    )
    return LlmCall(
        id=first.call_id,
        key=request.key,
        state=CallState.SETTLED,
        lease_owner=None,
        lease_live=False,
        request_digest=request.digest,
        resolution=resolution,
        usage=result.usage,
        cost_micro_usd=result.cost_micro_usd,
        output=first.settlement.output,
        user_id=request.user_id,
        created_at=row["created_at"],
        ended_at=row["ended_at"],
        read_at=row["ended_at"],
        attempts=(attempt,),
    )


def _audit_details(call: LlmCall | None, number: int) -> Mapping[str, object]:
    if call is None:
        return {}
    model_id = call.resolution.model_id
    return {"model": model_id, "attempt": number, "cost_micro_usd": call.cost_micro_usd}
