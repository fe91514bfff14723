"""Verification of audit logs."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from tenant.domain.audit import (
    START,
    ChainLink,
    Fault,
    FaultKind,
    Verification,
    fault_at_end,
    first_fault,
)
from tenant.signed_anchors import ENTRIES
from tenant.store import audit_logs, audit_owner

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from dataplane.connection_lease import ConnectionLease
    from dataplane.pools import Connection
    from dataplane.tenants import ManagementPool, TenantPools
    from interceptor.fair_semaphore import FairSemaphore
    from tenant.app.audit_anchors import AuditAnchors
    from tenant.domain.audit import VerifiedPart
    from tenant.domain.databases import AuditRoles
    from tenant.store.audit_anchors import StoredAnchor

_ENTRIES_AT_ONCE = 2000


class AuditVerification:
    """Computes logs anew, part by part, in the database, and compares them with their anchors.

    No connection is held between two parts, and `turns` lets tenants take turns: so a long log
    keeps neither other calls nor other verifications waiting for longer than a part takes.
    """

    def __init__(
        self,
        management: ManagementPool,
        tenants: TenantPools,
        anchors: AuditAnchors,
        roles: AuditRoles,
        turns: FairSemaphore,
        entries_at_once: int = _ENTRIES_AT_ONCE,
    ) -> None:
        self._management = management
        self._tenants = tenants
        self._anchors = anchors
        self._roles = roles
        self._turns = turns
        self._entries_at_once = entries_at_once

    async def verify(self, tenant_id: str, known: ChainLink | None) -> Verification:
        """Chain what is committed, then verify a tenant's log, or the management database's.

        `known` is an entry whose digest was noted before. A log without a fault is anchored. Raises
        what entering the database raises.
        """
        async with self._connection(tenant_id) as connection:
            database = await audit_logs.database_name(connection)
            # Before the log is read: while it is, more is anchored.
            anchored = await self._anchors.signed.furthest(tenant_id, database)
            await audit_logs.chain(connection)
        count, part, fault = await self._walk(
            tenant_id, database, anchored, partial(self._verify_part, tenant_id)
        )
        async with self._connection(tenant_id) as connection:
            fault = fault or await self._fault_of_known(connection, known)
            unchained, age = await audit_logs.unchained(connection)
            is_protected = await audit_owner.owner_of_log(connection) == self._roles.owner
        if fault is None:
            await self._anchors.anchor(tenant_id, verified=True)
        head = part.head or START
        return Verification(count, head, fault, unchained, age, anchored, is_protected)

    async def anchored(self, tenant_id: str, database: str) -> int:
        """Return up to which entry a log is anchored: what `fault_of` needs to know."""
        return await self._anchors.signed.furthest(tenant_id, database)

    async def fault_of(
        self, tenant_id: str, database: str, anchored: int, log: Connection
    ) -> Fault | None:
        """Return the first fault of a log as a session sees it; of a snapshot, as that has it.

        `anchored` was looked up before the snapshot was taken: since then more may be anchored.
        """

        async def read(start: ChainLink) -> VerifiedPart:
            return await audit_logs.verify_part(log, start, self._entries_at_once)

        _, _, fault = await self._walk(tenant_id, database, anchored, read)
        return fault

    async def _walk(
        self,
        tenant_id: str,
        database: str,
        anchored: int,
        read: Callable[[ChainLink], Awaitable[VerifiedPart]],
    ) -> tuple[int, VerifiedPart, Fault | None]:
        """Compute a log anew; return how many entries were read, the last part, the first fault."""
        in_files = await self._anchors.signed.in_files(database)
        count, end = 0, START
        while True:
            part = await read(end)
            differing = await self._anchor_fault(tenant_id, database, end, part, in_files)
            count, end, fault = count + part.count, part.end, first_fault(part.fault, differing)
            if fault is not None:
                return count, part, fault
            if part.count < self._entries_at_once:
                return count, part, fault_at_end(part) or self._fault_of_cut(end, anchored)

    async def _verify_part(self, tenant_id: str, start: ChainLink) -> VerifiedPart:
        turn = await self._turns.acquire(tenant_id)
        try:
            async with self._connection(tenant_id) as connection:
                return await audit_logs.verify_part(connection, start, self._entries_at_once)
        finally:
            turn.release()

    async def _anchor_fault(
        self,
        tenant_id: str,
        database: str,
        start: ChainLink,
        part: VerifiedPart,
        in_files: Sequence[StoredAnchor],
    ) -> Fault | None:
        """Compare a part with the anchors of its entries."""
        first, last = start.sequence, start.sequence + part.count
        found = [
            *await self._anchors.signed.in_management(tenant_id, database, first, last),
            *(anchor for anchor in in_files if first < anchor.sequence <= last + ENTRIES),
        ]

        def compare() -> Fault | None:
            faults: list[Fault | None] = []
            for stored in found:
                anchor = self._anchors.signed.open(stored, tenant_id, database)
                forged = Fault(stored.sequence, FaultKind.ANCHOR)
                faults.append(forged if anchor is None else part.anchor_fault(start, anchor))
            return first_fault(*faults)

        return await asyncio.to_thread(compare)

    def _fault_of_cut(self, end: ChainLink, anchored: int) -> Fault | None:
        """Return the first entry that is missing at the end, although it was anchored."""
        return Fault(end.sequence + 1, FaultKind.SEQUENCE) if end.sequence < anchored else None

    async def _fault_of_known(
        self, connection: Connection, known: ChainLink | None
    ) -> Fault | None:
        if known is None:
            return None
        digest = await audit_logs.find_digest(connection, known.sequence)
        return None if digest == known.digest else Fault(known.sequence, FaultKind.KNOWN_DIGEST)

    def _connection(self, tenant_id: str) -> ConnectionLease:
        return self._tenants.connection(tenant_id) if tenant_id else self._management.connection()
