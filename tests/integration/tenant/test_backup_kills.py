"""kill -9 in the middle of backups, restorations and clones: another process ends them.

All points with NAGAYA_ALL_KILLS=1, else some of them, chosen anew each time.
"""

from __future__ import annotations

import os
import random
import uuid
from typing import TYPE_CHECKING

import pytest
from tests.integration.tenant.backup_stack import NOTHING
from tests.integration.tenant.dying_service import run_until_killed

from nagaya.tenant.v1 import backup_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.integration.tenant.backup_stack import BackupStack


_READING = "tenant.transfer.table_contents:read"  # pg_dump or pg_restore has begun or ended
_LOADING = "tenant.transfer.backup_sessions:LoadSession.load"
_PLACING = "tenant.provisioning:Provisioning.place"  # the old database is closed
_STORING = "tenant.app.backup_writer:BackupWriter.store"
_COMPLETING = "tenant.store.backups:complete"
BACKUP = (_READING, _STORING, _COMPLETING, "write")
RESTORATION = ("check", _LOADING, _READING, "load", "objects", _PLACING, "place", "clean_up")
VERIFICATION = ("check", _LOADING, _READING, "restore", "objects", "record")
COPY = ("check", _LOADING, "load", "objects", "place", "clean_up")
CLONE = (_STORING, "backup", _LOADING, "load", "objects", "activation", "clean_up")
_SAMPLE = 2


def _points(known: Sequence[str]) -> Sequence[str]:
    if os.environ.get("NAGAYA_ALL_KILLS"):
        return known
    return random.sample(known, _SAMPLE)


@pytest.fixture
async def stack(stack: BackupStack) -> BackupStack:
    await stack.service.runner.stop()  # until something has been killed
    return stack


async def _filled(stack: BackupStack) -> tuple[str, dict[str, bytes]]:
    tenant_id = await stack.created()
    return tenant_id, await stack.filled(tenant_id, runs=1)


async def _survive(stack: BackupStack, operation_id: str, point: str) -> None:
    """Kill a process that runs an operation at a point; have this one end it."""
    await run_until_killed(stack.config, point)
    stack.service.runner.start()
    await stack.done(operation_id)


async def _backed_up(stack: BackupStack, tenant_id: str) -> str:
    stack.service.runner.start()
    backup_id = await stack.back_up(tenant_id)
    await stack.service.runner.stop()
    return backup_id


async def test_a_backup_that_was_killed_is_made_by_another_process(stack: BackupStack) -> None:
    tenant_id, files = await _filled(stack)
    before = await stack.content(tenant_id)
    for point in _points(BACKUP):
        request = pb.CreateBackupRequest(tenant_id=tenant_id, request_id=str(uuid.uuid4()))
        begun = await stack.backups.CreateBackup(request)
        await _survive(stack, begun.operation.operation_id, point)
        restored = await stack.restore(tenant_id, begun.backup.backup_id)
        await stack.service.runner.stop()
        assert restored.reason == "", (point, restored.message)
        assert await stack.content(tenant_id) == before, point
        assert stack.stored(tenant_id) == files
        assert await stack.leftovers() == NOTHING, point


async def test_a_restoration_that_was_killed_is_ended_by_another_process(
    stack: BackupStack,
) -> None:
    tenant_id, files = await _filled(stack)
    before = await stack.content(tenant_id)
    backup_id = await _backed_up(stack, tenant_id)
    for point in _points(RESTORATION):
        old = await stack.tenant(tenant_id)
        request = pb.RestoreBackupRequest(
            tenant_id=tenant_id, backup_id=backup_id, request_id=str(uuid.uuid4())
        )
        begun = await stack.backups.RestoreBackup(request)
        await _survive(stack, begun.operation.operation_id, point)
        await stack.service.runner.stop()
        tenant = await stack.tenant(tenant_id)
        assert tenant.database != old.database, point
        assert tenant.generation == old.generation + 1, point
        assert await stack.content(tenant_id) == before, point
        assert stack.stored(tenant_id) == files
        assert await stack.leftovers() == NOTHING, point


async def test_a_verification_that_was_killed_leaves_no_scratch_database(
    stack: BackupStack,
) -> None:
    tenant_id, _ = await _filled(stack)
    backup_id = await _backed_up(stack, tenant_id)
    for point in _points(VERIFICATION):
        request = pb.VerifyBackupRequest(
            tenant_id=tenant_id, backup_id=backup_id, request_id=str(uuid.uuid4())
        )
        begun = await stack.backups.VerifyBackup(request)
        await _survive(stack, begun.operation.operation_id, point)
        await stack.service.runner.stop()
        assert await stack.leftovers() == NOTHING, point


async def test_a_copy_that_was_killed_becomes_exactly_one_tenant(stack: BackupStack) -> None:
    tenant_id, files = await _filled(stack)
    before = await stack.content(tenant_id)
    backup_id = await _backed_up(stack, tenant_id)
    for point in _points(COPY):
        new_id = f"copy-{uuid.uuid4().hex[:8]}"
        request = pb.RestoreBackupRequest(
            tenant_id=tenant_id,
            backup_id=backup_id,
            request_id=str(uuid.uuid4()),
            new_tenant_id=new_id,
        )
        begun = await stack.backups.RestoreBackup(request)
        await _survive(stack, begun.operation.operation_id, point)
        await stack.service.runner.stop()
        assert (await stack.tenant(new_id)).state == "active"
        assert await stack.content(new_id) == before, point
        assert stack.stored(new_id) == files
        assert await stack.leftovers() == NOTHING, point


async def test_a_clone_that_was_killed_becomes_exactly_one_tenant(stack: BackupStack) -> None:
    tenant_id, files = await _filled(stack)
    before = await stack.content(tenant_id)
    for point in _points(CLONE):
        new_id = f"clone-{uuid.uuid4().hex[:8]}"
        request = pb.CloneTenantRequest(
            tenant_id=tenant_id, new_tenant_id=new_id, request_id=str(uuid.uuid4())
        )
        begun = await stack.backups.CloneTenant(request)
        await _survive(stack, begun.operation.operation_id, point)
        await stack.service.runner.stop()
        assert (await stack.tenant(new_id)).state == "active"
        assert await stack.content(new_id) == before, point
        assert stack.stored(new_id) == files
        assert await stack.leftovers() == NOTHING, point
        assert [path for path in stack.folder.rglob("*") if path.is_file()] == []
