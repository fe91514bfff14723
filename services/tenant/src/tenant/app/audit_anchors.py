"""Anchoring of audit logs: their digests, noted outside of their databases."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

import paging
from servicekit.call import acting_as
from servicekit.identity import workload_principal
from tenant.domain.audit import START, ChainLink, Fault, FaultKind, SignedAnchor, fault_at_end
from tenant.errors import TenantNotFound
from tenant.signed_anchors import ENTRIES
from tenant.store import audit_anchors, audit_logs, tenants

if TYPE_CHECKING:
    from auditchain.anchors import Anchor
    from dataplane.connection_lease import ConnectionLease
    from dataplane.pools import Connection
    from dataplane.tenants import ManagementPool, TenantPools
    from tenant.signed_anchors import SignedAnchors
    from tenant.store.audit_anchors import StoredAnchor

_BELIEVED_SECONDS = 3600.0
_log = logging.getLogger(__name__)


class AuditAnchors:
    """Anchors logs, and lists their anchors.

    An anchor is made of entries whose digests have been computed anew.
    """

    def __init__(
        self, management: ManagementPool, tenants: TenantPools, signed: SignedAnchors
    ) -> None:
        self._management = management
        self._tenants = tenants
        self._altered: dict[str, tuple[Fault, float]] = {}
        self.signed = signed

    async def anchor(self, tenant_id: str, *, verified: bool = False) -> StoredAnchor | None:
        """Chain and anchor what a log has more than at its last anchor; return its last anchor.

        Nothing is anchored in a log that is not as it was written: that is logged as
        `audit_log.altered`. A moved log in which that was found is computed anew an hour later, or
        once it is `verified`: by the caller, just now, without a fault. None for an empty log, and
        for the management database's without files. Raises what entering the database raises, and
        OSError.
        """
        with acting_as(workload_principal("tenant")):
            return await self._anchor(tenant_id, verified=verified)

    async def _anchor(self, tenant_id: str, *, verified: bool) -> StoredAnchor | None:
        async with self._connection(tenant_id) as log:
            await audit_logs.chain(log)
            database = await audit_logs.database_name(log)
            noted = await self._noted_head(tenant_id, database)
            if verified:
                self._altered.pop(database, None)
            # Before the transaction: it must not stand idle for as long as this takes.
            fault = None if noted is None else await self._fault_up_to(log, database, noted)
            async with self._management.transaction() as management:
                await audit_anchors.lock(management, database)
                last = await self.signed.latest(management, tenant_id, database)
                if fault is not None:
                    _report(tenant_id, fault)
                    return last
                start = await self._start(management, tenant_id, database, last, noted)
                # One anchor from the first entry on ends at the noted one, or before it.
                size = ENTRIES if noted is None else min(ENTRIES, noted.sequence)
                while start is not None:
                    part = await audit_logs.verify_part(log, start, size)
                    is_last = part.count < size
                    fault = part.fault or (fault_at_end(part) if is_last else None)
                    if fault is not None:
                        _report(tenant_id, fault)
                        break
                    if part.count:
                        last = await self.signed.add(management, tenant_id, database, start, part)
                    start, size = (None if is_last else part.end), ENTRIES
        return last

    async def _fault_up_to(self, log: Connection, database: str, noted: Anchor) -> Fault | None:
        """Return the first fault up to a noted entry.

        The whole log up to there is computed, so a fault that was found is believed for an hour.
        """
        fault, until = self._altered.get(database, (None, 0.0))
        if time.monotonic() >= until:
            fault = await _fault_up_to(log, noted)
            self._altered.pop(database, None)
            if fault is not None:
                self._altered[database] = fault, time.monotonic() + _BELIEVED_SECONDS
        return fault

    async def _noted_head(self, tenant_id: str, database: str) -> Anchor | None:
        if not tenant_id:
            return None
        async with self._management.connection() as management:
            return await self.signed.noted_head(management, tenant_id, database)

    async def _start(
        self,
        management: Connection,
        tenant_id: str,
        database: str,
        last: StoredAnchor | None,
        noted: Anchor | None,
    ) -> ChainLink | None:
        """Return the entry after which a log is to be anchored; None if it must not be."""
        if last is None:
            return START
        anchor = self.signed.genuine(last, tenant_id, database)
        if anchor is None:
            return None
        # Another process may have anchored the first entries meanwhile.
        if noted is None or await self.signed.noted_head(management, tenant_id, database) is None:
            return ChainLink(anchor.sequence, anchor.digest)
        return START

    async def page(self, tenant_id: str, size: int, token: str) -> paging.Page[SignedAnchor]:
        """Return one page of the anchors of a tenant's log, oldest first; it may be suspended.

        Those of the management database are in files. One that is not genuine is there, too: who
        verifies them has to see it. Raises TenantNotFound.
        """
        async with self._management.connection() as connection:
            if tenant_id:
                tenant = await tenants.find(connection, tenant_id)
                if tenant is None:
                    raise TenantNotFound(tenant_id)
                database = tenant.database.name
                found = await audit_anchors.page(connection, tenant_id, database, size, token)
            else:
                database = await audit_logs.database_name(connection)
                found = paging.Page((), "")
        if not tenant_id:
            found = audit_anchors.page_of(await self.signed.in_files(database), size, token)
        opened = await asyncio.to_thread(
            lambda: [self.signed.open(one, tenant_id, database) for one in found.items]
        )
        signed = (
            SignedAnchor(database, stored.sequence, anchor, stored.document)
            for stored, anchor in zip(found.items, opened, strict=True)
        )
        return paging.Page(tuple(signed), found.next_token)

    def _connection(self, tenant_id: str) -> ConnectionLease:
        return self._tenants.connection(tenant_id) if tenant_id else self._management.connection()


async def _fault_up_to(log: Connection, noted: Anchor) -> Fault | None:
    """Compute a log anew up to a noted entry; return the first fault."""
    end = START
    while end.sequence < noted.sequence:
        part = await audit_logs.verify_part(log, end, ENTRIES)
        fault = part.fault or part.anchor_fault(end, noted)
        if fault is None and not part.count:
            fault = Fault(end.sequence + 1, FaultKind.SEQUENCE)
        if fault is not None:
            return fault
        end = part.end
    return None


def _report(tenant_id: str, fault: Fault) -> None:
    _log.error(
        "an audit log is not as it was written",
        extra={
            "event": "audit_log.altered",
            "tenant_id": tenant_id,
            "sequence": fault.sequence,
            "kind": fault.kind.value,
        },
    )
