"""Small bundles for tests, and ways to damage them."""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import uuid4

from auditchain.chain import NO_DIGEST
from bundle import manifest_json
from bundle.index import ObjectEntry
from bundle.manifest import AppliedFile, AuditHead, Manifest, Sequence, Table, Tenant
from bundle.stream import tar_bytes
from bundle.writer import BundleWriter

if TYPE_CHECKING:
    from pathlib import Path

SIGNED = b"signed: "


def signature(manifest: bytes) -> bytes:
    """What stands for a signature where none is tested."""
    return SIGNED + hashlib.sha256(manifest).hexdigest().encode()


def write_bundle(folder: Path, *, objects: int = 5, entries: int = 4) -> Manifest:
    """Write a whole bundle into a folder."""
    writer = BundleWriter(folder)
    log, head = _audit_log(entries)
    tables = [
        _table(writer, "runs", "runs", ("id", "status"), b"1\tcompleted\n2\tfailed\n"),
        _table(writer, "audit_logs", "tenant", AUDIT_COLUMNS, log),
        _table(writer, "prompts", "runs", ("id", "content"), b"1\tWrite \\\\N about {topic}.\\n\n"),
    ]
    bodies = [secrets.token_bytes(1 + 700 * number) for number in range(objects)]
    listed = sorted(
        (hashlib.sha256(body).hexdigest(), f"{uuid4()}/draft/{name}", body)
        for body in bodies
        for name in ("output.json", "artifacts/a.md")
    )
    index = writer.index()
    for digest, key, body in listed:
        if index.add(ObjectEntry(key, digest, len(body))):
            file = writer.object(digest)
            assert file is not None
            file.write(body)
            file.close()
    manifest = Manifest(
        bundle_id=str(uuid4()),
        create_time=datetime(2026, 11, 30, 8, 0, tzinfo=UTC),
        installation=str(uuid4()),
        tenant=Tenant("acme", "Acme & Söhne", "storage/acme"),
        migrations=(AppliedFile("tenant", 1, "foundation", "0" * 64),),
        tables=tuple(tables),
        sequences=(Sequence("audit_logs_id_seq", "tenant", entries, is_called=True),),
        objects=index.close(),
        audit=head,
    )
    seal(folder, manifest)
    return manifest


def seal(folder: Path, manifest: Manifest) -> None:
    """Write a manifest, and what stands for its signature."""
    raw = manifest_json.encode(manifest)
    BundleWriter(folder).finish(raw, signature(raw))


def write_tar(folder: Path, path: Path) -> Path:
    """Write the tar of a bundle in a folder."""
    with path.open("wb") as file:
        for piece in tar_bytes(folder):
            file.write(piece)
    return path


AUDIT_COLUMNS = (
    "id",
    "user_id",
    "action",
    "resource_type",
    "resource_id",
    "details",
    "created_at",
    "sequence",
    "database_role",
    "digest",
)


def _audit_log(entries: int) -> tuple[bytes, AuditHead]:
    digest, rows = NO_DIGEST, b""
    for number in range(1, entries + 1):
        details = json.dumps({"text": 'a "quoted"\ttext', "n": number})
        chained = [
            digest, number, "ada", "run.create", "run", f"r{number}", details, "t_1_runs",
            f"2026-11-30T08:00:0{number % 10}.500000Z",
        ]  # fmt: skip
        digest = hashlib.sha256(json.dumps(chained, ensure_ascii=False).encode()).hexdigest()
        values = [
            str(number), "ada", "run.create", "run", f"r{number}",
            details.replace("\\", "\\\\").replace("\t", "\\t"),
            f"2026-11-30 08:00:0{number % 10}.5+00", str(number), "t_1_runs", digest,
        ]  # fmt: skip
        rows += "\t".join(values).encode() + b"\n"
    return rows, AuditHead(entries, digest)


def _table(
    writer: BundleWriter, name: str, service: str, columns: tuple[str, ...], rows: bytes
) -> Table:
    file = writer.table(name)
    file.write(rows)
    file.close()
    return Table(name, service, columns, file.lines, file.size_bytes, file.digest)


def shuffled(manifest: Manifest) -> Manifest:
    """Return a manifest with its tables in another order."""
    return replace(manifest, tables=tuple(reversed(manifest.tables)))
