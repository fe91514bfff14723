"""An audit log in a file: written through the API, verified without a server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from auditchain import export
from auditchain.anchors import DOCUMENT_TYPE, Anchor, AnchorMalformed
from auditchain.chain import ChainVerifier, Entry, FaultKind, Head
from auditchain.export import ExportMalformed, Header, SignedAnchor
from nagaya.tenant.v1 import audit_log_pb2, audit_service_pb2
from nagaya_client.errors import NagayaError
from nagaya_client.paging import pages
from signing import PublicKeys, SignatureInvalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from nagaya_client.client import Client

_PAGE = 200
_SIGNING_KEY = "workload-tenant"
_KINDS = {
    FaultKind.DIGEST: audit_log_pb2.AUDIT_LOG_FAULT_KIND_DIGEST,
    FaultKind.SEQUENCE: audit_log_pb2.AUDIT_LOG_FAULT_KIND_SEQUENCE,
    FaultKind.HEAD: audit_log_pb2.AUDIT_LOG_FAULT_KIND_HEAD,
    FaultKind.ANCHOR: audit_log_pb2.AUDIT_LOG_FAULT_KIND_ANCHOR,
}


class AuditFileInvalid(NagayaError):
    """A file is no exported audit log, or has anchors that are not genuine."""


async def write_audit_log(client: Client, tenant_id: str, file: Path) -> int:
    """Write a tenant's log and its anchors to a file; return how many entries it has.

    The empty tenant is the management database. The file is complete or not there. Raises ApiError
    and OSError.
    """
    draft = file.with_name(f"{file.name}.partial")
    try:
        with draft.open("w", encoding="utf-8", newline="\n") as out:
            request = audit_service_pb2.ListAuditAnchorsRequest(
                tenant_id=tenant_id, page_size=_PAGE
            )
            anchors = [
                anchor
                async for page in pages(client.audit.ListAuditAnchors, request)
                for anchor in page.audit_anchors
            ]
            database = anchors[0].database if anchors else ""
            out.write(export.header_line(Header(tenant_id, database)))
            count, head = 0, None
            entries = audit_service_pb2.ListAuditLogsRequest(
                tenant_id=tenant_id, page_size=_PAGE, for_verification=True
            )
            async for page in pages(client.audit.ListAuditLogs, entries):
                out.writelines(export.entry_line(_entry(entry)) for entry in page.audit_logs)
                count, head = count + len(page.audit_logs), page.head
            for anchor in anchors:
                out.write(export.anchor_line(anchor.document.decode()))
            if head is not None:
                out.write(export.end_line(Head(head.sequence, head.digest or "0" * 64)))
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)
    return count


def check_audit_log(
    file: Path, jwks: Path | None, anchor_files: Sequence[Path] = ()
) -> audit_service_pb2.VerifyAuditLogResponse:
    """Verify an exported log; return what VerifyAuditLog would.

    Anchors are looked at where there are keys to tell whether they are genuine. Raises
    AuditFileInvalid and OSError.
    """
    try:
        header, anchors = _first_reading(file)
        anchors += [document for other in anchor_files for document in _documents(other)]
        genuine = [] if jwks is None else _genuine(header, anchors, jwks)
        verifier, head = ChainVerifier(genuine), Head(0, "")
        for item in _read(file):
            if isinstance(item, Entry):
                verifier.add(item)
            elif isinstance(item, Head):
                head = item
        fault = verifier.finish(head)
    except (ExportMalformed, SignatureInvalid, AnchorMalformed, UnicodeDecodeError) as error:
        raise AuditFileInvalid(f"{file}: {error}", _HINT) from None
    found = audit_service_pb2.VerifyAuditLogResponse(
        entry_count=verifier.count,
        head_sequence=head.sequence,
        head_digest=head.digest,
        anchored_sequence=max((anchor.sequence for anchor in genuine), default=0),
    )
    if fault is not None:
        found.first_fault.sequence, found.first_fault.kind = fault.sequence, _KINDS[fault.kind]
    return found


_HINT = "Export the log again with `nagaya audit export`; keep the public keys of former anchors."


def _first_reading(file: Path) -> tuple[Header, list[str]]:
    header, anchors = Header("", ""), list[str]()
    for item in _read(file):
        if isinstance(item, Header):
            header = item
        elif isinstance(item, SignedAnchor):
            anchors.append(item.document)
    return header, anchors


def _read(file: Path) -> Iterator[Header | Entry | SignedAnchor | Head]:
    with file.open(encoding="utf-8", newline="\n") as lines:
        yield from export.read(lines)


def _documents(file: Path) -> Iterator[str]:
    """Yield the signed documents of a file of NAGAYA_AUDIT_ANCHOR_FOLDER."""
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            try:
                yield str(json.loads(line)["document"])
            except (ValueError, KeyError, TypeError):
                continue  # a killed process may have left half a line


def _genuine(header: Header, documents: Iterable[str], jwks: Path) -> list[Anchor]:
    keys = PublicKeys.from_jwks(jwks.read_bytes())
    found = [
        Anchor.of_document(keys.verify(document, DOCUMENT_TYPE, _SIGNING_KEY))
        for document in documents
    ]
    for anchor in found:
        if (anchor.tenant_id, anchor.database) != (header.tenant_id, header.database):
            raise AnchorMalformed(f"an anchor is about another log, {anchor.database}")
    return found


def _entry(message: audit_log_pb2.AuditLog) -> Entry:
    time = message.create_time
    created_at = f"{time.ToDatetime():%Y-%m-%dT%H:%M:%S}.{time.nanos // 1000:06}Z"
    return Entry(
        message.sequence,
        message.user_id,
        message.action,
        message.resource_type,
        message.resource_id,
        message.details_text or None,
        message.database_role,
        created_at,
        message.digest,
    )
