"""`nagaya bundle`, `tenant export` and `tenant import`: what goes over the wire, and what stays."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import grpc
import pytest
from tests.support.bundles import write_bundle, write_tar
from tests.unit.client.api import Refusal

from bundle import manifest_json, signature
from bundle.writer import BundleWriter
from nagaya.tenant.v1 import operation_pb2, operation_service_pb2
from nagaya.tenant.v1 import transfer_service_pb2 as pb
from nagaya_client.cli.main import run
from servicekit.testing import Keys
from signing import DocumentSigner

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.client.api import Api

pytestmark = pytest.mark.usefixtures("here")
ID = str(uuid.uuid4())
DONE = operation_pb2.Operation(
    operation_id=ID, state=operation_pb2.OPERATION_STATE_DONE, result={"bundle_id": ID}
)


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


@pytest.fixture
def tar(tmp_path: Path, keys: Keys) -> Path:
    folder = tmp_path / "bundle"
    raw = manifest_json.encode(write_bundle(folder))
    signer = DocumentSigner.from_file("workload-tenant", keys.key_file("tenant"))
    BundleWriter(folder).finish(raw, signature.sign(signer, raw))
    return write_tar(folder, tmp_path / "bundle.tar")


def sends(api: Api, data: bytes) -> None:
    """Have DownloadBundle send a tar from the byte on that is asked for."""

    def answer(call: object) -> list[object]:
        offset = call.request.offset  # pyright: ignore[reportAttributeAccessIssue]
        size = pb.DownloadBundleResponse(size_bytes=len(data))
        return [size, pb.DownloadBundleResponse(data=data[offset:])]

    api.on("DownloadBundle", answer)


def test_an_export_is_fetched_whole_or_not_at_all(
    api: Api, tar: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, target = tar.read_bytes(), tmp_path / "acme.tar"
    api.on("CreateExport", pb.CreateExportResponse(operation=DONE))
    export = ["tenant", "export", "acme", "--to", str(target), "--request-id", "r1", "--drain"]
    sends(api, data.replace(b"completed", b"cancelled"))

    assert run(export) == 1
    assert f"nagaya bundle fetch {ID} --tenant acme --to {target}" in capsys.readouterr().err
    assert not target.exists()
    sends(api, data)
    assert run(export) == 0

    assert target.read_bytes() == data
    asked = pb.CreateExportRequest(
        tenant_id="acme", request_id="r1", drain=True, drain_seconds=3600
    )
    assert [call.request for call in api.called("CreateExport")] == [asked, asked]
    assert not list(tmp_path.glob(".acme.tar*"))


def test_a_bundle_is_fetched_again_by_its_id(api: Api, tar: Path, tmp_path: Path) -> None:
    sends(api, tar.read_bytes())
    target = tmp_path / "again.tar"

    assert run(["bundle", "fetch", ID, "--tenant", "acme", "--to", str(target)]) == 0

    assert target.read_bytes() == tar.read_bytes()
    (call,) = api.called("DownloadBundle")
    assert call.request == pb.DownloadBundleRequest(tenant_id="acme", bundle_id=ID)


def test_an_import_sends_what_has_not_come_yet(
    api: Api, tar: Path, keys: Keys, capsys: pytest.CaptureFixture[str]
) -> None:
    data, known = tar.read_bytes(), 1000
    missing = Refusal(grpc.StatusCode.NOT_FOUND, reason="ERROR_REASON_BUNDLE_NOT_FOUND")
    answers = iter((missing, pb.CreateImportResponse(operation=DONE)))
    api.on("CreateImport", lambda _: next(answers))
    there = iter(
        (
            pb.GetBundleUploadResponse(received_bytes=known),
            pb.GetBundleUploadResponse(received_bytes=len(data), complete=True),
        )
    )
    api.on("GetBundleUpload", lambda _: next(there))
    api.on("UploadBundle", pb.UploadBundleResponse(received_bytes=len(data), complete=True))

    command = ["tenant", "import", str(tar), "--as", "acme-2", "--jwks", str(keys.jwks_file)]
    assert run(command) == 0

    (call,) = api.called("UploadBundle")
    assert (call.requests[0].upload.offset, call.requests[0].upload.size_bytes) == (
        known,
        len(data),
    )
    assert b"".join(request.data for request in call.requests[1:]) == data[known:]
    first, second = (one.request for one in api.called("CreateImport"))
    assert first == second
    assert (first.tenant_id, first.bundle_id) == ("acme-2", call.requests[0].upload.bundle_id)
    assert f"--request-id {first.request_id}" in capsys.readouterr().err


def test_an_import_of_a_damaged_bundle_asks_nobody(
    api: Api, tar: Path, keys: Keys, capsys: pytest.CaptureFixture[str]
) -> None:
    tar.write_bytes(tar.read_bytes().replace(b"completed", b"cancelled"))

    assert run(["tenant", "import", str(tar), "--jwks", str(keys.jwks_file)]) == 1

    assert not api.calls
    assert "runs.copy: its sha256 is another" in capsys.readouterr().err


def test_a_bundle_is_verified_with_keys_or_without(
    tar: Path, keys: Keys, capsys: pytest.CaptureFixture[str]
) -> None:
    verify = ["bundle", "verify", str(tar)]

    assert run([*verify, "--jwks", str(keys.jwks_file)]) == 0
    assert "valid" in capsys.readouterr().out
    assert run([*verify, "--unsigned"]) == 0
    assert "not verified" in capsys.readouterr().out
    assert run(verify) == 2
    (other := tar.with_name("other")).mkdir()
    assert run([*verify, "--jwks", str(Keys(other).jwks_file)]) == 1
    assert "signature" in capsys.readouterr().err


def test_an_export_that_fails_fetches_nothing(api: Api, tmp_path: Path) -> None:
    begun = operation_pb2.Operation(operation_id=ID, state=operation_pb2.OPERATION_STATE_RUNNING)
    error = operation_pb2.OperationError(reason="ERROR_REASON_RUNS_IN_FLIGHT", message="runs")
    failed = operation_pb2.Operation(
        operation_id=ID, state=operation_pb2.OPERATION_STATE_FAILED, error=error
    )
    api.on("CreateExport", pb.CreateExportResponse(operation=begun))
    api.on("WatchOperation", [operation_service_pb2.WatchOperationResponse(operation=failed)])

    assert run(["tenant", "export", "acme", "--to", str(tmp_path / "acme.tar")]) == 1

    assert not api.called("DownloadBundle")
