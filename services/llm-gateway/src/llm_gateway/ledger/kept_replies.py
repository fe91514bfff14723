"""Whole replies that a process of an earlier version kept for as long as it could not store them.

Such a reply leaves its attempt open. Whoever finds an open attempt that no process works on, or a
call whose reply is kept, settles the call with it before anything else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm_gateway.store import kept_replies

if TYPE_CHECKING:
    from dataplane.tenants import TenantPools
    from llm_gateway.domain.files import ReplyDraft


class KeptReplies:
    """Finds kept replies; the transaction that settles a call deletes its one."""

    def __init__(self, tenants: TenantPools) -> None:
        self._tenants = tenants

    async def find(self, tenant_id: str, call_id: int) -> ReplyDraft | None:
        """Return the kept reply to a call; None when there is none."""
        async with self._tenants.connection(tenant_id) as connection:
            return await kept_replies.find(connection, call_id)
