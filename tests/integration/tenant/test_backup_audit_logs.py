"""A backup does not make good an audit log that was written anew."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING

import pytest
from tests.integration.tenant.backup_stack import backup_stack
from tests.integration.tenant.tamperings import RECHAIN

from nagaya.tenant.v1.audit_service_pb2 import VerifyAuditLogRequest
from tenant.domain.operations import OperationState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.integration.tenant.backup_stack import BackupStack

    from nagaya_local.parts.postgres import PostgresServer
    from nagaya_local.parts.s3 import S3Server
    from servicekit.testing import Keys
    from tenant.config import Config

DONE = OperationState.DONE


@pytest.fixture
async def stack(
    config: Config,
    keys: Keys,
    postgres: PostgresServer,
    s3: S3Server,
    parts_folder: Path,
    tmp_path: Path,
) -> AsyncIterator[BackupStack]:
    async with backup_stack(config, keys, postgres, s3, parts_folder, tmp_path) as stack:
        yield stack


async def test_a_log_that_was_written_anew_is_not_made_good_by_a_backup(
    stack: BackupStack,
) -> None:
    tenant_id = f"acme-{uuid.uuid4().hex[:8]}"
    await stack.service.tenants.create(tenant_id, str(uuid.uuid4()), "Acme")
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
