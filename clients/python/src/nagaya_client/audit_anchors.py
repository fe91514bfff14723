"""What the digests of audit logs were, by files that are kept outside of their databases."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

from auditchain.anchors import DOCUMENT_TYPE, Anchor, AnchorMalformed
from bundle import names, signature
from bundle.errors import BundleInvalid
from bundle.source import source
from bundle.verify import read_manifest
from signing import SignatureInvalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from signing import PublicKeys

SIGNER = "workload-tenant"
"""The `kid` of the key by which tenant services sign."""
_HEADS = {"backup-manifest": "audit", "nagaya.deletion-certificate.v1": "audit_log"}
"""The types of signed documents that say where a log ended, and by which member."""


def of_documents(documents: Iterable[str], keys: PublicKeys) -> list[Anchor]:
    """Return what signed anchors say. Raises SignatureInvalid, AnchorMalformed."""
    return [
        Anchor.of_document(keys.verify(document, DOCUMENT_TYPE, SIGNER)) for document in documents
    ]


def of_file(file: Path, keys: PublicKeys) -> list[Anchor]:
    """Return the anchors of a file; none if the log was empty when it was written.

    That is a file of NAGAYA_AUDIT_ANCHOR_FOLDER; else the manifest of a backup, a bundle or a
    certificate of deletion, which say where the log ended: those name no database, but for the
    certificate. A bundle may be named by its manifest. Raises SignatureInvalid, AnchorMalformed for
    what is none of these, OSError.
    """
    if file.is_dir() or not _begins_as_json(file):
        return _of_bundle(file, keys)
    text = file.read_text(encoding="utf-8")
    kind = _type_of(text)
    if kind is None:
        if file.name == names.MANIFEST and (file.parent / names.SIGNATURE).is_file():
            return _of_bundle(file.parent, keys)
        found = of_documents(_documents(text), keys)
        if not found:
            raise AnchorMalformed(f"{file} holds no anchor")
        return found
    if kind not in _HEADS:
        raise AnchorMalformed(f"{file} is {kind}, which tells nothing of a log")
    return _of_signed(keys.verify(text, kind, SIGNER), _HEADS[kind])


def _begins_as_json(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(1) in (b"{", b"")


def _type_of(text: str) -> str | None:
    """Return the type of a signed document; None for what is none, such as lines of anchors."""
    try:
        content: Any = json.loads(text)
        kind: Any = content["document"]["type"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return str(kind)


def _of_signed(document: Mapping[str, Any], member: str) -> list[Anchor]:
    try:
        head = document[member]
        if head is None:
            return []
        time = head.get("anchored_time") or document.get("snapshot_time", "")
        return _of_head(
            document["tenant_id"], head.get("database", ""), head["sequence"], head["digest"], time
        )
    except (KeyError, TypeError, AttributeError):
        raise AnchorMalformed("the document does not say where the log ended") from None


def _of_bundle(path: Path, keys: PublicKeys) -> list[Anchor]:
    try:
        manifest = read_manifest(source(path), partial(signature.check, keys))
    except BundleInvalid as error:
        raise SignatureInvalid(f"{path}: {error}") from None
    head, time = manifest.audit, manifest.create_time.isoformat()
    return _of_head(manifest.tenant.tenant_id, "", head.sequence, head.digest, time)


def _of_head(tenant_id: str, database: str, sequence: int, digest: str, time: str) -> list[Anchor]:
    return [Anchor.of_head(tenant_id, database, sequence, digest, time)] if sequence else []


def _documents(text: str) -> Iterator[str]:
    """Yield the signed documents of a file of anchors."""
    for line in text.splitlines():
        try:
            yield str(json.loads(line)["document"])
        except (ValueError, KeyError, TypeError):
            continue  # a killed process may have left half a line
