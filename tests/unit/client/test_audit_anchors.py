"""An exported log is compared with what files that are kept elsewhere say of it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.support.bundles import write_bundle, write_tar

from auditchain import export
from auditchain.anchors import SHORT_BYTES, Anchor
from auditchain.chain import NO_DIGEST, Entry, Head
from auditchain.export import Header
from bundle import manifest_json, signature
from bundle.manifest import AuditHead
from bundle.writer import BundleWriter
from nagaya.tenant.v1 import audit_log_pb2
from nagaya_client.audit_file import AuditFileInvalid, check_audit_log
from nagaya_client.cli.main import run
from servicekit.testing import Keys
from signing import DocumentSigner

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 4
OWN = Header("acme", "")


def log_of(file: Path, user: str = "ada", *, header: Header = OWN) -> list[Entry]:
    """Write a whole log, of which `user` made the second entry."""
    entries, digest = list[Entry](), NO_DIGEST
    for number in range(1, SIZE + 1):
        name = user if number == 2 else "bob"
        entry = Entry(number, name, "a", "b", "c", None, "role", f"2026-11-30T08:00:0{number}Z", "")
        digest = entry.computed_digest(digest)
        entries.append(replace(entry, digest=digest))
    lines = [export.header_line(header), *map(export.entry_line, entries)]
    file.write_text("".join([*lines, export.end_line(Head(SIZE, digest))]))
    return entries


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


@pytest.fixture
def signer(keys: Keys) -> DocumentSigner:
    return DocumentSigner.from_file("workload-tenant", keys.key_file("tenant"))


def backup(file: Path, signer: DocumentSigner, digest: str, tenant_id: str = "acme") -> Path:
    head = {"sequence": SIZE, "digest": digest}
    document = {"type": "backup-manifest", "tenant_id": tenant_id, "audit": head}
    file.write_bytes(signer.sign({**document, "snapshot_time": "2026-11-30T08:00:00.0Z"}))
    return file


def certificate(file: Path, signer: DocumentSigner, digest: str) -> Path:
    head = {"database": "t_1", "sequence": SIZE, "digest": digest, "anchored_time": "2026"}
    document = {"type": "nagaya.deletion-certificate.v1", "tenant_id": "acme", "audit_log": head}
    signed = json.loads(signer.sign(document))
    file.write_text(json.dumps(signed, indent=2))  # formatted anew, it is still the same
    return file


def bundle(folder: Path, signer: DocumentSigner, digest: str) -> Path:
    manifest = replace(write_bundle(folder), audit=AuditHead(SIZE, digest))
    raw = manifest_json.encode(manifest)
    BundleWriter(folder).finish(raw, signature.sign(signer, raw))
    return folder


def anchors(file: Path, signer: DocumentSigner, entries: list[Entry]) -> Path:
    short = b"".join(bytes.fromhex(entry.digest)[:SHORT_BYTES] for entry in entries)
    anchor = Anchor("acme", "t_1", 0, SIZE, entries[-1].digest, short, "2026")
    line = {"sequence": SIZE, "document": signer.sign(anchor.document()).decode()}
    file.write_text(json.dumps(line) + "\n" + '{"sequence": 9, "doc')
    return file


def test_a_log_that_was_written_anew_contradicts_each_kind_of_file(
    keys: Keys, signer: DocumentSigner, tmp_path: Path
) -> None:
    whole = log_of(tmp_path / "whole.jsonl")
    log_of(tmp_path / "forged.jsonl", "eve")
    digest = whole[-1].digest
    folder = bundle(tmp_path / "bundle", signer, digest)
    files = {
        backup(tmp_path / "manifest.json", signer, digest): SIZE,
        certificate(tmp_path / "certificate.json", signer, digest): SIZE,
        folder: SIZE,
        folder / "manifest.json": SIZE,
        write_tar(folder, tmp_path / "bundle.tar"): SIZE,
        anchors(tmp_path / "t_1.jsonl", signer, whole): 2,
    }
    for file, place in files.items():
        found = check_audit_log(tmp_path / "whole.jsonl", keys.jwks_file, [file])
        assert not found.HasField("first_fault"), file
        assert found.anchored_sequence == SIZE

        forged = check_audit_log(tmp_path / "forged.jsonl", keys.jwks_file, [file]).first_fault
        assert forged.sequence == place, file
        assert forged.kind == audit_log_pb2.AUDIT_LOG_FAULT_KIND_ANCHOR
    assert not check_audit_log(tmp_path / "forged.jsonl", keys.jwks_file).HasField("first_fault")


def test_files_that_say_nothing_of_this_log_are_refused(
    keys: Keys, signer: DocumentSigner, tmp_path: Path
) -> None:
    log = tmp_path / "log.jsonl"
    digest = log_of(log)[-1].digest
    other = backup(tmp_path / "other.json", signer, digest, "globex")
    changed = backup(tmp_path / "changed.json", signer, digest)
    changed.write_bytes(changed.read_bytes().replace(b'"sequence":4', b'"sequence":3'))
    (unknown := tmp_path / "unknown.json").write_bytes(signer.sign({"type": "receipt"}))
    (malformed := tmp_path / "malformed.json").write_bytes(signer.sign({"type": "backup-manifest"}))
    (damaged := tmp_path / "damaged.tar").write_bytes(b"manifest.json")
    (empty := tmp_path / "empty.jsonl").touch()
    (half := tmp_path / "half.jsonl").write_text('{"sequence": 9, "doc')
    (alone := tmp_path / "manifest.json").write_bytes(
        (bundle(tmp_path / "bundle", signer, digest) / "manifest.json").read_bytes()
    )

    for file, why in {
        other: "about another log, globex",
        changed: "not what was signed",
        unknown: "receipt",
        malformed: "does not say where",
        damaged: "tar",
        **dict.fromkeys((empty, half, alone, log), "holds no anchor"),
    }.items():
        with pytest.raises(AuditFileInvalid, match=why):
            check_audit_log(log, keys.jwks_file, [file])
    log_of(log, header=Header("acme", "t_2"))
    old = certificate(tmp_path / "old.json", signer, digest)
    with pytest.raises(AuditFileInvalid, match="about another log, acme t_1"):
        check_audit_log(log, keys.jwks_file, [old])


@pytest.mark.usefixtures("elsewhere")
def test_the_command_takes_files_and_a_noted_entry(
    keys: Keys,
    signer: DocumentSigner,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    log = tmp_path / "log.jsonl"
    digest = log_of(log)[-1].digest
    noted = backup(tmp_path / "manifest.json", signer, digest)
    verify = ["audit", "verify", "--offline", str(log)]

    assert run([*verify, "--anchors", str(noted)]) == 2
    assert "--jwks" in capsys.readouterr().err
    assert run([*verify, "--jwks", str(keys.jwks_file), "--anchors", str(noted)]) == 0
    assert run([*verify, "--known", f"{SIZE}:{digest}"]) == 0
    log_of(log, "eve")
    assert run([*verify, "--jwks", str(keys.jwks_file), "--anchors", str(noted)]) == 1
    assert run([*verify, "--known", f"{SIZE}:{digest}"]) == 1
    assert run([*verify, "--known", "4:ab"]) == 1
    assert "names no entry" in capsys.readouterr().err
