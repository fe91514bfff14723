"""Whole replies in the tenant's database, for as long as the artifacts service cannot take them.

A kept reply leaves its attempt open. Whoever comes upon an open attempt that nobody is at work on,
or finds a call's reply kept, stores it before anything else, and settles the call with it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from llm_gateway.domain.calls import CallState
from llm_gateway.ledger.outcomes import DISPLACED

if TYPE_CHECKING:
    from dataplane.tenants import TenantPools
    from llm_gateway.domain.calls import CallKey, Ending, Lease
    from llm_gateway.domain.files import ReplyDraft
    from llm_gateway.ledger.outcomes import Outcomes
    from llm_gateway.store.attempts import AttemptStore
    from llm_gateway.store.calls import CallStore
    from llm_gateway.store.replies import ReplyStore
    from llm_gateway.store.transitions import CallTransitions


class KeptReplies:
    """Each method may be called again when its answer was lost."""

    def __init__(
        self,
        tenants: TenantPools,
        calls: CallStore,
        transitions: CallTransitions,
        attempts: AttemptStore,
        replies: ReplyStore,
        outcomes: Outcomes,
    ) -> None:
        self._tenants = tenants
        self._calls = calls
        self._transitions = transitions
        self._attempts = attempts
        self._replies = replies
        self._outcomes = outcomes

    async def keep(self, tenant_id: str, key: CallKey, draft: ReplyDraft, ending: Ending) -> bool:
        """Keep an attempt's reply, whoever holds the call, and book what the attempt used.

        The first reply to a call counts: the attempt has failed if another's is there. False where
        there is no place for it yet.
        """
        number = draft.attempt
        async with self._tenants.transaction(tenant_id) as connection:
            call = await self._calls.lock(connection, key)
            if call is None:
                return False
            if call.state is CallState.SETTLED:
                counts = call.reply_attempt
            else:
                counts = await self._replies.keep(connection, call.id, draft)
            if counts is None:
                return False
            if counts != number:
                failed = replace(ending, state=CallState.FAILED, error=DISPLACED)
                await self._outcomes.record(connection, call, number, failed)
            elif call.state is not CallState.SETTLED:
                still_open = replace(ending, state=CallState.DISPATCHED)
                await self._outcomes.record(connection, call, number, still_open)
            return True

    async def find(self, tenant_id: str, call_id: int) -> ReplyDraft | None:
        """Return the kept reply to a call; None when there is none."""
        async with self._tenants.connection(tenant_id) as connection:
            return await self._replies.find(connection, call_id)

    async def let_go(self, tenant_id: str, key: CallKey, lease: Lease) -> None:
        """Leave a call whose reply is kept to whoever comes next; nobody waits for the lease."""
        async with self._tenants.connection(tenant_id) as connection:
            await self._transitions.release(connection, key, lease)

    async def discard(self, tenant_id: str, key: CallKey) -> None:
        """Give a kept reply up, because its place is taken by a file that is no reply."""
        async with self._tenants.transaction(tenant_id) as connection:
            call = await self._calls.lock(connection, key)
            if call is None:
                return
            number = await self._replies.drop(connection, call.id)
            if number is not None:
                await self._attempts.displace(connection, call.id, number, DISPLACED)
