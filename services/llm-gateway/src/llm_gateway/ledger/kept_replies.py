"""Whole replies in the tenant's database, for as long as the artifacts service cannot take them.

A kept reply leaves its attempt open. Whoever finds an open attempt that no process works on, or a
call whose reply is kept, stores the reply before anything else, and settles the call with it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from llm_gateway.domain.attempts import CallState
from llm_gateway.ledger.outcomes import DISPLACED, record_result
from llm_gateway.store import attempts, calls, kept_replies, transitions

if TYPE_CHECKING:
    from dataplane.tenants import TenantPools
    from llm_gateway.domain.attempts import AttemptResult
    from llm_gateway.domain.calls import CallKey, CallLease
    from llm_gateway.domain.files import ReplyDraft


class KeptReplies:
    """Transactions on kept replies. Each may be called again when its answer was lost."""

    def __init__(self, tenants: TenantPools) -> None:
        self._tenants = tenants

    async def keep(
        self, tenant_id: str, key: CallKey, draft: ReplyDraft, result: AttemptResult
    ) -> bool:
        """Keep an attempt's reply, whoever holds the call, and record what the attempt used.

        The first reply to a call counts: the attempt has failed if another's is there. False when
        the tenant's database does not have the table yet.
        """
        number = draft.attempt
        async with self._tenants.transaction(tenant_id) as connection:
            call = await calls.lock(connection, key)
            if call is None:
                return False
            if call.state is CallState.SETTLED:
                counts = call.reply_attempt
            else:
                counts = await kept_replies.insert(connection, call.id, draft)
            if counts is None:
                return False
            if counts != number:
                failed = replace(result, state=CallState.FAILED, error=DISPLACED)
                await record_result(connection, call, number, failed)
            elif call.state is not CallState.SETTLED:
                still_open = replace(result, state=CallState.DISPATCHED)
                await record_result(connection, call, number, still_open)
            return True

    async def find(self, tenant_id: str, call_id: int) -> ReplyDraft | None:
        """Return the kept reply to a call; None when there is none."""
        async with self._tenants.connection(tenant_id) as connection:
            return await kept_replies.find(connection, call_id)

    async def release(self, tenant_id: str, key: CallKey, lease: CallLease) -> None:
        """Expire the lease of a call whose reply is kept, so that nobody waits for it."""
        async with self._tenants.connection(tenant_id) as connection:
            await transitions.release(connection, key, lease)

    async def discard(self, tenant_id: str, key: CallKey) -> None:
        """Delete a kept reply whose path is taken by a file that is not a reply."""
        async with self._tenants.transaction(tenant_id) as connection:
            call = await calls.lock(connection, key)
            if call is None:
                return
            number = await kept_replies.delete(connection, call.id)
            if number is not None:
                await attempts.mark_displaced(connection, call.id, number, DISPLACED)
