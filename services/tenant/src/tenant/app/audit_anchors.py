"""Anchors of audit logs: their digests, signed, noted outside of their databases."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import paging
from auditchain.anchors import DOCUMENT_TYPE, Anchor, AnchorMalformed
from servicekit.call import acting_as
from servicekit.identity import workload_principal
from servicekit.times import now
from signing import PublicKeys, SignatureInvalid
from tenant.domain.audit import START, ChainLink, SignedAnchor, fault_at_end
from tenant.errors import TenantNotFound
from tenant.store import audit_anchors, audit_logs, tenants

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dataplane.connection_lease import ConnectionLease
    from dataplane.pools import Connection
    from dataplane.tenants import ManagementPool, TenantPools
    from signing import DocumentSigner
    from tenant.domain.audit import Fault, VerifiedPart
    from tenant.store.anchor_files import AnchorFiles
    from tenant.store.audit_anchors import StoredAnchor

SIGNING_KEY = "workload-tenant"
"""The `kid`, in the JWKS, of the key that signs anchors: that of the tenant service's tokens."""
ENTRIES = 700
"""How many entries an anchor covers at most: its document has to fit into an audit entry."""

_log = logging.getLogger(__name__)


class AuditAnchors:
    """Anchors the tenants' logs in the management database's, and all logs in files, if there are.

    An anchor is made of entries whose digests have been computed anew. The log of the management
    database has no other database that is certain to be there: it is anchored in files alone.
    """

    def __init__(
        self,
        management: ManagementPool,
        tenants: TenantPools,
        signer: DocumentSigner,
        jwks_file: Path,
        files: AnchorFiles | None,
    ) -> None:
        self._management = management
        self._tenants = tenants
        self._signer = signer
        self._jwks_file = jwks_file
        self._files = files
        self._public_keys: tuple[int, PublicKeys] | None = None

    async def anchor(self, tenant_id: str) -> StoredAnchor | None:
        """Chain and anchor what a log has more than at its last anchor; return its last anchor.

        Nothing is anchored in a log that is not as it was written: that is logged as
        `audit_log.altered`. None for an empty log, and for the management database's without
        files. Raises what entering the database raises, and OSError.
        """
        with acting_as(workload_principal("tenant")):
            return await self._anchor(tenant_id)

    async def _anchor(self, tenant_id: str) -> StoredAnchor | None:
        async with (
            self._connection(tenant_id) as log,
            self._management.transaction() as management,
        ):
            await audit_logs.chain(log)
            database = await audit_logs.database_name(log)
            await audit_anchors.lock(management, database)
            last = await self._latest(management, tenant_id, database)
            start = START if last is None else self._end(last, tenant_id, database)
            while start is not None:
                part = await audit_logs.verify_part(log, start, ENTRIES)
                is_last = part.count < ENTRIES
                fault = part.fault or (fault_at_end(part) if is_last else None)
                if fault is not None:
                    self._report(tenant_id, fault)
                    break
                if part.count:
                    last = await self._add(management, tenant_id, database, start, part)
                start = None if is_last else part.end
        return last

    async def latest(
        self, connection: Connection, tenant_id: str, database: str
    ) -> StoredAnchor | None:
        """Return the last anchor of the log of a database that may be closed by now.

        `connection` is to the management database.
        """
        return await audit_anchors.latest(connection, tenant_id, database)

    async def page(self, tenant_id: str, size: int, token: str) -> paging.Page[SignedAnchor]:
        """Return one page of the anchors of a tenant's log, oldest first; it may be suspended.

        Those of the management database are in files. Raises TenantNotFound.
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
            found = audit_anchors.page_of(await self.in_files(database), size, token)
        opened = ((self.open(each, tenant_id, database), each.document) for each in found.items)
        signed = (SignedAnchor(anchor, document) for anchor, document in opened if anchor)
        return paging.Page(tuple(signed), found.next_token)

    async def furthest(self, tenant_id: str, database: str) -> int:
        """Return the last entry that has been anchored anywhere; 0 without one."""
        found = [] if self._files is None else [await self._files.latest(database)]
        if tenant_id:
            async with self._management.connection() as connection:
                found.append(await audit_anchors.latest(connection, tenant_id, database))
        return max((anchor.sequence for anchor in found if anchor is not None), default=0)

    async def in_files(self, database: str) -> Sequence[StoredAnchor]:
        """Return the anchors of a database's log that files hold."""
        return [] if self._files is None else await self._files.read(database)

    async def in_management(
        self, tenant_id: str, database: str, start: int, end: int
    ) -> Sequence[StoredAnchor]:
        """Return the management database's anchors of the entries after `start` up to `end`."""
        if not tenant_id:
            return []
        async with self._management.connection() as connection:
            return await audit_anchors.between(
                connection, tenant_id, database, start, end + ENTRIES
            )

    def open(self, stored: StoredAnchor, tenant_id: str, database: str) -> Anchor | None:
        """Return what a signed anchor says; None if it is not genuine, or about another log.

        It computes: call it in a thread when there are many.
        """
        try:
            document = self._keys().verify(stored.document, DOCUMENT_TYPE, SIGNING_KEY)
            anchor = Anchor.of_document(document)
        except (SignatureInvalid, AnchorMalformed):
            return None
        about = (anchor.tenant_id, anchor.database, anchor.sequence)
        return anchor if about == (tenant_id, database, stored.sequence) else None

    def _keys(self) -> PublicKeys:
        """Return the keys of the JWKS file, which is read again when it changes."""
        changed_at = self._jwks_file.stat().st_mtime_ns
        if self._public_keys is None or self._public_keys[0] != changed_at:
            keys = PublicKeys.from_jwks(self._jwks_file.read_bytes())
            self._public_keys = (changed_at, keys)
        return self._public_keys[1]

    async def _latest(
        self, management: Connection, tenant_id: str, database: str
    ) -> StoredAnchor | None:
        if tenant_id:
            return await audit_anchors.latest(management, tenant_id, database)
        return None if self._files is None else await self._files.latest(database)

    def _end(self, last: StoredAnchor, tenant_id: str, database: str) -> ChainLink | None:
        """Return the last entry of an anchor; None, with a report, if it is not genuine."""
        anchor = self.open(last, tenant_id, database)
        if anchor is None:
            _log.error(
                "an anchor of an audit log is not genuine",
                extra={
                    "event": "audit_anchor.not_genuine",
                    "tenant_id": tenant_id,
                    "sequence": last.sequence,
                },
            )
            return None
        return ChainLink(anchor.sequence, anchor.digest)

    async def _add(
        self,
        management: Connection,
        tenant_id: str,
        database: str,
        start: ChainLink,
        part: VerifiedPart,
    ) -> StoredAnchor | None:
        anchor = Anchor(
            tenant_id,
            database,
            start.sequence,
            part.end.sequence,
            part.end.digest,
            part.short_digests,
            now().isoformat(timespec="microseconds"),
        )
        document = await asyncio.to_thread(self._signer.sign, anchor.document())
        if tenant_id:
            await audit_anchors.insert(management, anchor, document)
        if self._files is not None:
            await self._files.append(anchor, document)
        elif not tenant_id:
            return None
        return audit_anchors.StoredAnchor(anchor.sequence, document)

    def _report(self, tenant_id: str, fault: Fault) -> None:
        _log.error(
            "an audit log is not as it was written",
            extra={
                "event": "audit_log.altered",
                "tenant_id": tenant_id,
                "sequence": fault.sequence,
                "kind": fault.kind.value,
            },
        )

    def _connection(self, tenant_id: str) -> ConnectionLease:
        return self._tenants.connection(tenant_id) if tenant_id else self._management.connection()
