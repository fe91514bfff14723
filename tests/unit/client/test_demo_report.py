"""The demo believes no file: each is compared with its record, on disk or fetched."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from nagaya.artifacts.v1 import artifact_pb2, artifact_service_pb2
from nagaya.runs.v1 import run_pb2, run_service_pb2
from nagaya.tenant.v1 import audit_service_pb2, tenant_pb2
from nagaya_client.errors import BytesCorrupt
from nagaya_local.demo.report import Reporter

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.client.api import Api, RecordedCall

    from nagaya_client.client import Client

RUN_ID = "0192f0c1-2345-7000-8000-000000000001"
FOLDER = f"storage/acme/{RUN_ID}"
FILES = {"outline/output.json": b'{"title":"x"}', "outline/artifacts/0-1/call-1.json": b"{}"}


@pytest.fixture
def objects(api: Api, tmp_path: Path) -> Path:
    """A run's files on disk, and a server that knows them."""
    for name, content in FILES.items():
        file = tmp_path / FOLDER / name
        file.parent.mkdir(parents=True)
        file.write_bytes(content)
    records = {
        f"{FOLDER}/{name}": artifact_pb2.Artifact(
            path=f"{FOLDER}/{name}",
            name=name.partition("/")[2],
            digest=hashlib.sha256(content).hexdigest(),
            size_bytes=len(content),
        )
        for name, content in FILES.items()
    }

    def download(call: RecordedCall) -> list[artifact_service_pb2.DownloadArtifactResponse]:
        content = (tmp_path / call.request.path).read_bytes()
        return [
            artifact_service_pb2.DownloadArtifactResponse(artifact=records[call.request.path]),
            artifact_service_pb2.DownloadArtifactResponse(data=content),
        ]

    state = run_pb2.RUN_STATE_COMPLETED
    api.on("GetRun", run_service_pb2.GetRunResponse(run=run_pb2.Run(run_id=RUN_ID, state=state)))
    api.on("ListRunSteps", run_service_pb2.ListRunStepsResponse())
    listed = artifact_service_pb2.ListArtifactsResponse(artifacts=records.values())
    api.on("ListArtifacts", listed)
    api.on("DownloadArtifact", download)
    api.on("ListAuditLogs", audit_service_pb2.ListAuditLogsResponse())
    return tmp_path


@pytest.mark.parametrize("here", [True, False], ids=["on disk", "elsewhere"])
async def test_files_that_agree_are_listed(
    api: Api, client: Client, objects: Path, here: object, capsys: pytest.CaptureFixture[str]
) -> None:
    tenant = tenant_pb2.Tenant(tenant_id="acme", name="Acme")
    await Reporter(client, tenant, RUN_ID, objects if here else None).report()

    shown = capsys.readouterr().out
    digest = hashlib.sha256(FILES["outline/output.json"]).hexdigest()
    assert f"  {digest}  outline/output.json\n" in shown
    assert f"{FOLDER},\n" in shown
    assert "call-1.json" not in shown
    assert len(api.called("DownloadArtifact")) == (0 if here else 2)


@pytest.mark.parametrize("here", [True, False], ids=["on disk", "elsewhere"])
async def test_a_file_that_does_not_agree_ends_the_demo(
    client: Client, objects: Path, here: object
) -> None:
    (objects / FOLDER / "outline/artifacts/0-1/call-1.json").write_bytes(b"[]")
    tenant = tenant_pb2.Tenant(tenant_id="acme", name="Acme")
    with pytest.raises(BytesCorrupt, match=r"call-1\.json"):
        await Reporter(client, tenant, RUN_ID, objects if here else None).report()
