"""A tenant is backed up, verified, restored and cloned by the processes of a stack."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from tests.support.public_api import create_pipeline, create_run, create_tenant, finish
from tests.support.waiting import wait_until

from nagaya.artifacts.v1 import artifact_service_pb2
from nagaya.runs.v1 import run_pb2, run_service_pb2
from nagaya.tenant.v1 import backup_service_pb2, operation_pb2, operation_service_pb2

if TYPE_CHECKING:
    from nagaya_client.client import Client

RESTORATIONS = 3


async def _done(client: Client, operation: operation_pb2.Operation) -> None:
    """Wait until an operation is done. Fails the test when it ends otherwise."""

    async def ended() -> operation_pb2.Operation | None:
        request = operation_service_pb2.GetOperationRequest(operation_id=operation.operation_id)
        found = (await client.operations.GetOperation(request)).operation
        return None if found.state == operation_pb2.OPERATION_STATE_RUNNING else found

    found = await wait_until(ended, seconds=60)
    assert found.state == operation_pb2.OPERATION_STATE_DONE, found.error


async def _completes(client: Client, tenant_id: str) -> str:
    run_id = await create_run(client, tenant_id, "constant", None)
    run = await finish(client, tenant_id, run_id)
    assert run.state == run_pb2.RUN_STATE_COMPLETED, run.error
    return run_id


async def _files(client: Client, tenant_id: str, run_id: str) -> dict[str, bytes]:
    request = artifact_service_pb2.ListArtifactsRequest(tenant_id=tenant_id, run_id=run_id)
    listed = await client.artifacts.ListArtifacts(request)
    found: dict[str, bytes] = {}
    for artifact in listed.artifacts:
        wanted = artifact_service_pb2.DownloadArtifactRequest(
            tenant_id=tenant_id, path=artifact.path
        )
        parts = client.artifacts.DownloadArtifact(wanted)
        found[artifact.path] = b"".join([part.data async for part in parts])
    return found


async def test_a_restored_tenant_and_a_clone_go_on_working(client: Client) -> None:
    tenant_id = await create_tenant(client, "kept")
    await create_pipeline(
        client,
        tenant_id,
        "constant",
        {"steps": [{"step": "s", "function": {"function": "constant"}}]},
    )
    run_id = await _completes(client, tenant_id)
    files = await _files(client, tenant_id, run_id)
    begun = await client.backups.CreateBackup(
        backup_service_pb2.CreateBackupRequest(tenant_id=tenant_id, request_id=str(uuid.uuid4()))
    )
    await _done(client, begun.operation)
    backup_id = begun.backup.backup_id
    verified = await client.backups.VerifyBackup(
        backup_service_pb2.VerifyBackupRequest(
            tenant_id=tenant_id, backup_id=backup_id, request_id=str(uuid.uuid4())
        )
    )
    await _done(client, verified.operation)

    for _ in range(RESTORATIONS):
        later = await _completes(client, tenant_id)
        restored = await client.backups.RestoreBackup(
            backup_service_pb2.RestoreBackupRequest(
                tenant_id=tenant_id, backup_id=backup_id, request_id=str(uuid.uuid4())
            )
        )
        await _done(client, restored.operation)
        listed = await client.runs.ListRuns(run_service_pb2.ListRunsRequest(tenant_id=tenant_id))
        assert later not in {run.run_id for run in listed.runs}
        assert await _files(client, tenant_id, run_id) == files
        await _completes(client, tenant_id)

    new_id = f"{tenant_id}-clone"
    cloned = await client.backups.CloneTenant(
        backup_service_pb2.CloneTenantRequest(
            tenant_id=tenant_id, new_tenant_id=new_id, request_id=str(uuid.uuid4())
        )
    )
    await _done(client, cloned.operation)
    assert await _files(client, new_id, run_id) == files
    await _completes(client, new_id)
