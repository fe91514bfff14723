"""A backup does not make good an audit log that was written anew."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.integration.tenant.tamperings import RECHAIN

from nagaya.tenant.v1.audit_service_pb2 import VerifyAuditLogRequest
from tenant.domain.operations import OperationState

if TYPE_CHECKING:
    from tests.integration.tenant.backup_stack import BackupStack


DONE = OperationState.DONE


async def test_a_log_that_was_written_anew_is_not_made_good_by_a_backup(
    stack: BackupStack,
) -> None:
    tenant_id = await stack.created()
    await stack.filled(tenant_id, runs=1)
    anchor = await stack.service.anchors.anchor(tenant_id)
    assert anchor is not None
    superuser = await stack.superuser(tenant_id)
    await superuser.execute("SET session_replication_role = replica")
    await superuser.execute("UPDATE audit_logs SET user_id = 'eve' WHERE sequence = 1")
    await superuser.execute(RECHAIN)
    await superuser.close()

    backup_id = await stack.back_up(tenant_id)

    (manifest,) = stack.folder.glob(f"{tenant_id}-*/backups/{backup_id}/manifest.json")
    assert json.loads(manifest.read_bytes())["document"]["audit_fault"] == anchor.sequence
    assert (await stack.verify(tenant_id, backup_id)).state is DONE
    for new_tenant_id in ("", f"{tenant_id}-2"):
        assert (await stack.restore(tenant_id, backup_id, new_tenant_id)).state is DONE
        restored = new_tenant_id or tenant_id
        await stack.service.anchors.anchor(restored)
        found = await stack.audit.VerifyAuditLog(VerifyAuditLogRequest(tenant_id=restored))
        assert found.first_fault.sequence == anchor.sequence
