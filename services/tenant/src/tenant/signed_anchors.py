"""Anchors of audit logs: signed, kept outside of the logs' databases, and opened again."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from auditchain.anchors import DOCUMENT_TYPE, Anchor, AnchorMalformed
from servicekit.call import acting_as
from servicekit.identity import workload_principal
from servicekit.times import now
from signing import PublicKeys, SignatureInvalid
from tenant.domain.audit import ChainLink
from tenant.store import audit_anchors

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dataplane.pools import Connection
    from dataplane.tenants import ManagementPool
    from signing import DocumentSigner
    from tenant.domain.audit import VerifiedPart
    from tenant.store.anchor_files import AnchorFiles
    from tenant.store.audit_anchors import StoredAnchor

SIGNING_KEY = "workload-tenant"
"""The `kid`, in the JWKS, of the key that signs anchors: that of the tenant service's tokens."""
ENTRIES = 700
"""How many entries an anchor covers at most: its document has to fit into an audit entry."""

_log = logging.getLogger(__name__)


class SignedAnchors:
    """Keeps the anchors of tenants' logs in the management database's log, and all in files.

    The log of the management database has no other database that is certain to be there: it is
    anchored in files alone, if there are. `management` of a method is a connection to that
    database. Methods raise OSError.
    """

    def __init__(
        self,
        management: ManagementPool,
        signer: DocumentSigner,
        jwks_file: Path,
        files: AnchorFiles | None,
    ) -> None:
        self._management = management
        self._signer = signer
        self._jwks_file = jwks_file
        self._files = files
        self._public_keys: tuple[int, PublicKeys] | None = None

    async def latest(
        self, management: Connection, tenant_id: str, database: str
    ) -> StoredAnchor | None:
        """Return the anchor of a log that goes furthest; of the management log, the last added."""
        if tenant_id:
            return await audit_anchors.latest(management, tenant_id, database)
        return None if self._files is None else await self._files.latest(database)

    async def head(self, management: Connection, tenant_id: str, database: str) -> Anchor | None:
        """Return the last anchor of a log, whose database may be closed by now.

        None if there is none, and if it is not genuine, which is logged.
        """
        last = await self.latest(management, tenant_id, database)
        return None if last is None else self.genuine(last, tenant_id, database)

    async def note_head(
        self, management: Connection, tenant_id: str, database: str, head: ChainLink
    ) -> None:
        """Anchor what the log of a database must have at a place, because it was brought there.

        Nothing of the log is anchored unless it has. A move, a restoration or an import knows the
        head from a signed document, and calls this before anybody uses the database. It does not
        fail because of the files: the entries before are anchored in them, too, once they agree.
        """
        if head.sequence == 0:
            return
        anchor = Anchor.of_head(tenant_id, database, head.sequence, head.digest, _current_time())
        with acting_as(workload_principal("tenant")):
            document = await self._insert(management, anchor)
        try:
            if self._files is not None:
                await self._files.append(anchor, document)
        except OSError as error:
            _log.error(
                "an anchor of an audit log could not be written to its file",
                extra={
                    "event": "audit_anchor.not_in_file",
                    "tenant_id": tenant_id,
                    "sequence": head.sequence,
                    "why": str(error),
                },
            )

    async def noted_head(
        self, management: Connection, tenant_id: str, database: str
    ) -> Anchor | None:
        """Return what `note_head` has anchored, unless the entries before are anchored since."""
        stored = await audit_anchors.lowest(management, tenant_id, database)
        found = [self.open(one, tenant_id, database) for one in stored]
        if any(anchor is None or anchor.since == 0 for anchor in found):
            return None
        return found[0] if found else None

    async def carry_over(
        self, management: Connection, tenant_id: str, old_database: str, new_database: str
    ) -> None:
        """Note the last anchored entry of a log for the database that it is moved to."""
        last = await self.head(management, tenant_id, old_database)
        if last is not None:
            head = ChainLink(last.sequence, last.digest)
            await self.note_head(management, tenant_id, new_database, head)

    async def add(
        self,
        management: Connection,
        tenant_id: str,
        database: str,
        start: ChainLink,
        part: VerifiedPart,
    ) -> StoredAnchor | None:
        """Anchor a part of a log, which was computed anew; None where there is no place for it."""
        anchor = Anchor(
            tenant_id,
            database,
            start.sequence,
            part.end.sequence,
            part.end.digest,
            part.short_digests,
            _current_time(),
        )
        return await self._write(management, anchor)

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

    def genuine(self, stored: StoredAnchor, tenant_id: str, database: str) -> Anchor | None:
        """Return what `open` does, and log that an anchor is not genuine."""
        anchor = self.open(stored, tenant_id, database)
        if anchor is None:
            _log.error(
                "an anchor of an audit log is not genuine",
                extra={
                    "event": "audit_anchor.not_genuine",
                    "tenant_id": tenant_id,
                    "sequence": stored.sequence,
                },
            )
        return anchor

    async def _write(self, management: Connection, anchor: Anchor) -> StoredAnchor | None:
        document = await self._insert(management, anchor)
        if self._files is not None:
            await self._files.append(anchor, document)
        elif not anchor.tenant_id:
            return None
        return audit_anchors.StoredAnchor(anchor.sequence, document)

    async def _insert(self, management: Connection, anchor: Anchor) -> bytes:
        """Sign an anchor; insert it, unless it is one of the management database itself."""
        document = await asyncio.to_thread(self._signer.sign, anchor.document())
        if anchor.tenant_id:
            await audit_anchors.insert(management, anchor, document)
        return document

    def _keys(self) -> PublicKeys:
        """Return the keys of the JWKS file, which is read again when it changes."""
        changed_at = self._jwks_file.stat().st_mtime_ns
        if self._public_keys is None or self._public_keys[0] != changed_at:
            keys = PublicKeys.from_jwks(self._jwks_file.read_bytes())
            self._public_keys = (changed_at, keys)
        return self._public_keys[1]


def _current_time() -> str:
    return now().isoformat(timespec="microseconds")
