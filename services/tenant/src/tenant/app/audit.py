"""Verification of audit logs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenant.domain.audit import START, ChainLink, Fault, FaultKind, Verification, fault_at_end
from tenant.store import audit_logs

if TYPE_CHECKING:
    from dataplane.connection_lease import ConnectionLease
    from dataplane.tenants import ManagementPool, TenantPools
    from interceptor.fair_semaphore import FairSemaphore
    from tenant.domain.audit import VerifiedPart

_ENTRIES_AT_ONCE = 2000


class AuditVerification:
    """Computes logs anew, part by part, in the database.

    No connection is held between two parts, and `turns` lets tenants take turns: so a long log
    keeps neither other calls nor other verifications waiting for longer than a part takes.
    """

    def __init__(
        self,
        management: ManagementPool,
        tenants: TenantPools,
        turns: FairSemaphore,
        entries_at_once: int = _ENTRIES_AT_ONCE,
    ) -> None:
        self._management = management
        self._tenants = tenants
        self._turns = turns
        self._entries_at_once = entries_at_once

    async def verify(self, tenant_id: str, known: ChainLink | None) -> Verification:
        """Chain what is committed, then verify a tenant's log, or the management database's.

        `known` is an entry whose digest was noted before. Raises what entering the database raises.
        """
        async with self._connection(tenant_id) as connection:
            await audit_logs.chain(connection)
        count, end, fault = 0, START, None
        while True:
            part = await self._verify_part(tenant_id, end)
            count, end, fault = count + part.count, part.end, part.fault
            if fault is not None or part.count < self._entries_at_once:
                break
        async with self._connection(tenant_id) as connection:
            fault = fault or fault_at_end(part)
            if fault is None and known is not None:
                digest = await audit_logs.find_digest(connection, known.sequence)
                if digest != known.digest:
                    fault = Fault(known.sequence, FaultKind.KNOWN_DIGEST)
            unchained, age = await audit_logs.unchained(connection)
        return Verification(count, part.head or START, fault, unchained, age)

    async def _verify_part(self, tenant_id: str, start: ChainLink) -> VerifiedPart:
        turn = await self._turns.acquire(tenant_id)
        try:
            async with self._connection(tenant_id) as connection:
                return await audit_logs.verify_part(connection, start, self._entries_at_once)
        finally:
            turn.release()

    def _connection(self, tenant_id: str) -> ConnectionLease:
        return self._tenants.connection(tenant_id) if tenant_id else self._management.connection()
