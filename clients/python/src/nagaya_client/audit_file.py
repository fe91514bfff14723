"""An audit log in a file: written through the API, verified without a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from auditchain import export
from auditchain.anchors import Anchor, AnchorMalformed
from auditchain.chain import ChainVerifier, Entry, FaultKind, Head
from auditchain.export import ExportMalformed, Header, SignedAnchor
from nagaya.tenant.v1 import audit_log_pb2, audit_service_pb2
from nagaya_client import audit_anchors
from nagaya_client.errors import NagayaError
from nagaya_client.paging import pages
from signing import PublicKeys, SignatureInvalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from nagaya_client.client import Client

_PAGE = 200
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
    file: Path,
    jwks: Path | None,
    anchor_files: Sequence[Path] = (),
    known: tuple[int, str] | None = None,
) -> audit_service_pb2.VerifyAuditLogResponse:
    """Verify an exported log; return what VerifyAuditLog would.

    Anchors are looked at where there are keys to tell whether they are genuine: those of the file,
    and those that `anchor_files` have (`audit_anchors.of_file`). `known` is the place and the
    digest of an entry that the log must have. Raises AuditFileInvalid and OSError.
    """
    try:
        header, documents = _first_reading(file)
        genuine = [] if jwks is None else _genuine(header, documents, jwks, anchor_files)
        noted = [] if known is None else [Anchor.of_head(header.tenant_id, "", *known, "")]
        verifier, head = ChainVerifier([*genuine, *noted]), Head(0, "")
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


def _genuine(
    header: Header, documents: Iterable[str], jwks: Path, files: Sequence[Path]
) -> list[Anchor]:
    """Return all anchors, each signed and about this log. Raises what makes a file invalid."""
    keys = PublicKeys.from_jwks(jwks.read_bytes())
    found = audit_anchors.of_documents(documents, keys)
    for file in files:
        found += audit_anchors.of_file(file, keys)
    # A log without anchors of its own does not know its database: those of files do, if they agree.
    databases = {header.database} - {""} or {anchor.database for anchor in found} - {""}
    for anchor in found:
        of_log = anchor.tenant_id == header.tenant_id and len(databases) <= 1
        if not of_log or anchor.database not in (*databases, ""):
            about = f"{anchor.tenant_id or 'the management database'} {anchor.database}".strip()
            raise AnchorMalformed(f"an anchor is about another log, {about}")
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
