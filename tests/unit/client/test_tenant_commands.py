"""`nagaya tenant` and `nagaya certificate`: what they ask, show and end with."""

from __future__ import annotations

import json
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from tests.unit.client.api import Refusal

from nagaya.tenant.v1 import (
    backup_service_pb2,
    operation_pb2,
    operation_service_pb2,
    secret_service_pb2,
    tenant_pb2,
)
from nagaya.tenant.v1 import tenant_service_pb2 as pb
from nagaya_client.cli.main import run
from servicekit.testing import Keys
from signing import DocumentSigner

if TYPE_CHECKING:
    from pathlib import Path

    from google.protobuf.message import Message
    from tests.unit.client.api import Api

pytestmark = pytest.mark.usefixtures("here")
ID = str(uuid.uuid4())
ACME = tenant_pb2.Tenant(
    tenant_id="acme", name="Acme", state=tenant_pb2.TENANT_STATE_DELETED, server_id="main"
)
BEGUN = operation_pb2.Operation(
    operation_id=ID, tenant_id="acme", state=operation_pb2.OPERATION_STATE_RUNNING
)
DONE = operation_pb2.Operation(
    operation_id=ID, tenant_id="acme", state=operation_pb2.OPERATION_STATE_DONE
)


@pytest.mark.parametrize(
    ("words", "request_", "response"),
    [
        ("get acme", pb.GetTenantRequest(tenant_id="acme"), pb.GetTenantResponse(tenant=ACME)),
        (
            "update acme --name Akme",
            pb.UpdateTenantRequest(tenant_id="acme", name="Akme"),
            pb.UpdateTenantResponse(tenant=ACME),
        ),
        (
            "delete acme --keep-days 30",
            pb.DeleteTenantRequest(tenant_id="acme", retention=Duration(seconds=30 * 86_400)),
            pb.DeleteTenantResponse(tenant=ACME),
        ),
        (
            "delete acme",
            pb.DeleteTenantRequest(tenant_id="acme"),
            pb.DeleteTenantResponse(tenant=ACME),
        ),
        (
            "undelete acme",
            pb.UndeleteTenantRequest(tenant_id="acme"),
            pb.UndeleteTenantResponse(tenant=ACME),
        ),
        (
            "suspend acme",
            pb.SuspendTenantRequest(tenant_id="acme"),
            pb.SuspendTenantResponse(tenant=ACME),
        ),
        (
            "resume acme",
            pb.ResumeTenantRequest(tenant_id="acme"),
            pb.ResumeTenantResponse(tenant=ACME),
        ),
    ],
)
def test_a_tenant_is_shown_as_it_is_after_a_command(
    api: Api,
    capsys: pytest.CaptureFixture[str],
    words: str,
    request_: Message,
    response: Message,
) -> None:
    method = type(request_).__name__.removesuffix("Request")
    api.on(method, response)

    assert run(["tenant", *words.split()]) == 0

    assert api.called(method)[0].request == request_
    out = capsys.readouterr().out
    assert "acme" in out
    assert "deleted" in out


def watched(api: Api, *changes: operation_pb2.Operation) -> None:
    responses = [operation_service_pb2.WatchOperationResponse(operation=one) for one in changes]
    api.on("WatchOperation", responses)


@pytest.mark.parametrize(
    ("words", "request_", "response"),
    [
        (
            "purge acme --yes --request-id r1",
            pb.PurgeTenantRequest(tenant_id="acme", request_id="r1"),
            pb.PurgeTenantResponse(operation=BEGUN),
        ),
        (
            "move acme second --request-id r1",
            pb.MoveTenantRequest(tenant_id="acme", server_id="second", request_id="r1"),
            pb.MoveTenantResponse(operation=BEGUN),
        ),
        (
            "clone acme globex --name Globex --server second --request-id r1",
            backup_service_pb2.CloneTenantRequest(
                tenant_id="acme",
                new_tenant_id="globex",
                new_name="Globex",
                server_id="second",
                request_id="r1",
            ),
            backup_service_pb2.CloneTenantResponse(operation=BEGUN),
        ),
        (
            "rotate-passwords acme --request-id r1",
            secret_service_pb2.RotatePasswordsRequest(tenant_id="acme", request_id="r1"),
            secret_service_pb2.RotatePasswordsResponse(operation=BEGUN),
        ),
    ],
)
def test_long_work_is_watched_to_its_end_or_left_to_itself(
    api: Api,
    capsys: pytest.CaptureFixture[str],
    words: str,
    request_: Message,
    response: Message,
) -> None:
    method = type(request_).__name__.removesuffix("Request")
    api.on(method, response)
    watched(api, BEGUN, DONE)

    assert run(["tenant", *words.split()]) == 0
    assert run(["tenant", *words.split(), "--no-wait", "-o", "id"]) == 0

    assert [call.request for call in api.called(method)] == [request_, request_]
    assert len(api.called("WatchOperation")) == 1
    assert capsys.readouterr().out.endswith(f"{ID}\n")


def test_a_purge_is_asked_about_first(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[str]()
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda text: asked.append(text) or "n")

    assert run(["tenant", "purge", "acme"]) != 0

    assert asked
    assert not api.calls


def test_whose_passwords_must_be_said(api: Api) -> None:
    assert run(["tenant", "rotate-passwords"]) == 2
    assert run(["tenant", "rotate-passwords", "acme", "--management"]) == 2
    assert not api.calls


def test_what_the_doctor_could_not_look_at_is_shown(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    api.on("RepairTenants", pb.RepairTenantsResponse(unchecked=["the server second"]))

    assert run(["tenant", "doctor", "--dry-run", "--remove", "t_1"]) == 0

    asked = pb.RepairTenantsRequest(dry_run=True, remove=["t_1"])
    assert api.called("RepairTenants")[0].request == asked
    assert "not looked at: the server second" in capsys.readouterr().err


def test_a_certificate_is_fetched_and_verified_without_a_server(
    api: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys, file = Keys(tmp_path), tmp_path / "acme.json"
    signer = DocumentSigner.from_file("workload-tenant", keys.key_file("tenant"))
    away = {"store": "log of a", "method": "switch", "found_before": None, "found_after": None}
    document = {
        "type": "nagaya.deletion-certificate.v1",
        "tenant_id": "acme",
        "looked_again_time": None,
        "audit_log": {"sequence": 7, "digest": "ab" * 32},
        "stores": [{**away, "unproven": ["It was away."]}],
        "unproven": ["Disks."],
        "kept": ["Ids."],
    }
    api.on(
        "GetDeletionCertificate",
        pb.GetDeletionCertificateResponse(certificate=signer.sign(document)),
    )

    assert run(["tenant", "certificate", "acme", "--file", str(file)]) == 0
    verify = ["certificate", "verify", str(file), "--jwks", str(keys.jwks_file)]
    assert run(verify) == 0

    shown = capsys.readouterr().out
    assert "unknown" in shown
    assert f"7 {'ab' * 32}" in shown
    assert {"  It was away.", "  Disks.", "  Ids."} <= set(shown.splitlines())
    assert run([*verify, "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["tenant_id"] == "acme"
    file.write_bytes(file.read_bytes().replace(b"acme", b"acne"))
    assert run(verify) == 1
    assert "not what was signed" in capsys.readouterr().err


def test_a_refusal_is_shown_with_its_reason(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    busy = Refusal(grpc.StatusCode.ABORTED, "the tenant is busy", "ERROR_REASON_TENANT_BUSY")
    api.on("DeleteTenant", busy)

    assert run(["tenant", "delete", "acme", "--keep-days", str(timedelta(days=1).days)]) == 5

    assert "TENANT_BUSY" in capsys.readouterr().err
