"""`nagaya audit verify`: what it asks, prints and ends with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest
from tests.unit.client.api import Refusal

from auditchain import export
from auditchain.chain import Head
from auditchain.export import Header, SignedAnchor
from nagaya.tenant.v1 import audit_log_pb2, audit_service_pb2
from nagaya_client.cli.main import run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.client.api import Api

pytestmark = pytest.mark.usefixtures("here")
DIGEST = "ab" * 32


def found(fault: audit_log_pb2.AuditLogFault | None = None) -> object:
    return audit_service_pb2.VerifyAuditLogResponse(
        entry_count=7, head_sequence=7, head_digest=DIGEST, first_fault=fault
    )


def test_a_whole_log_is_shown_with_its_head(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    api.on("VerifyAuditLog", found())

    assert run(["audit", "verify", "--tenant", "acme", "--known", f"5:{DIGEST}"]) == 0

    shown = capsys.readouterr().out
    assert DIGEST in shown
    assert "fault" not in shown
    (call,) = api.called("VerifyAuditLog")
    assert call.request == audit_service_pb2.VerifyAuditLogRequest(
        tenant_id="acme", known_sequence=5, known_digest=DIGEST
    )


def test_a_log_that_was_changed_ends_with_1_and_names_the_place(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    kind = audit_log_pb2.AUDIT_LOG_FAULT_KIND_DIGEST
    api.on("VerifyAuditLog", found(audit_log_pb2.AuditLogFault(sequence=4, kind=kind)))

    assert run(["audit", "verify", "--management"]) == 1

    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["first_fault.sequence", "4"] in lines
    assert ["first_fault.kind", "digest"] in lines
    assert api.called("VerifyAuditLog")[0].request == audit_service_pb2.VerifyAuditLogRequest()


@pytest.mark.parametrize("wrong", ["7", "x:y", ":"])
def test_what_is_no_entry_is_refused(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["audit", "verify", "--tenant", "acme", "--known", wrong]) == 2
    assert "SEQUENCE:DIGEST" in capsys.readouterr().err


def test_whose_log_must_be_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["audit", "verify"]) == 2
    assert "whose log?" in capsys.readouterr().err


def test_a_file_is_verified_without_a_server(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "log.jsonl"
    head = Head(0, "0" * 64)
    file.write_text(export.header_line(Header("acme", "t_1")) + export.end_line(head))

    assert run(["audit", "verify", "--offline", str(file)]) == 0
    file.write_text(export.header_line(Header("acme", "t_1")))
    assert run(["audit", "verify", "--offline", str(file)]) == 1
    assert "ends after line 1" in capsys.readouterr().err
    assert run(["audit", "verify", "--jwks", str(file)]) == 2


def test_a_log_is_exported_with_its_anchors_or_not_at_all(
    api: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = audit_log_pb2.AuditLog(sequence=1, user_id="ada", digest=DIGEST)
    anchor = audit_log_pb2.AuditAnchor(database="t_1", sequence=1, document=b"signed")
    head = audit_log_pb2.AuditLogHead(sequence=1, digest=DIGEST)
    logs = audit_service_pb2.ListAuditLogsResponse(audit_logs=[entry], head=head)
    api.on("ListAuditAnchors", audit_service_pb2.ListAuditAnchorsResponse(audit_anchors=[anchor]))
    api.on("ListAuditLogs", Refusal(grpc.StatusCode.FAILED_PRECONDITION))
    file = tmp_path / "acme.jsonl"

    assert run(["audit", "export", str(file), "--tenant", "acme"]) == 5
    assert not [*tmp_path.glob("acme*")]
    api.on("ListAuditLogs", logs)
    assert run(["audit", "export", str(file), "--tenant", "acme"]) == 0

    assert "1 entries in" in capsys.readouterr().err
    with file.open(encoding="utf-8") as lines:
        found = [*export.read(lines)]
    assert found[0] == Header("acme", "t_1")
    assert found[-2:] == [SignedAnchor("signed"), Head(1, DIGEST)]
    assert api.called("ListAuditLogs")[-1].request.for_verification
