"""Backups: made while the tenant works, verified, and restored under any names."""

from __future__ import annotations

import json
import random
import uuid
from typing import TYPE_CHECKING

import pytest
from tests.integration.tenant.backup_stack import NOTHING
from tests.integration.tenant.tamperings import RECHAIN

from nagaya.tenant.v1 import backup_pb2
from nagaya.tenant.v1 import backup_service_pb2 as pb
from nagaya.tenant.v1.audit_service_pb2 import VerifyAuditLogRequest
from tenant.domain.backups import folder_of
from tenant.domain.operations import OperationState

if TYPE_CHECKING:
    from tests.integration.tenant.backup_stack import BackupStack


DONE = OperationState.DONE


async def _get(stack: BackupStack, tenant_id: str, backup_id: str) -> backup_pb2.Backup:
    request = pb.GetBackupRequest(tenant_id=tenant_id, backup_id=backup_id)
    return (await stack.backups.GetBackup(request)).backup


async def test_a_backup_is_restored_in_place_and_the_tenant_is_as_it_was(
    stack: BackupStack,
) -> None:
    tenant_id = await stack.created()
    files = await stack.filled(tenant_id)
    before = await stack.content(tenant_id)
    old = await stack.tenant(tenant_id)

    backup_id = await stack.back_up(tenant_id)
    await stack.filled(tenant_id)  # what is written later is gone after the restoration
    restored = await stack.restore(tenant_id, backup_id)

    assert restored.state is OperationState.DONE, restored.message
    tenant = await stack.tenant(tenant_id)
    assert (tenant.state, tenant.generation) == (old.state, old.generation + 1)
    assert tenant.database != old.database
    assert await stack.content(tenant_id) == before
    assert files.items() <= stack.stored(tenant_id).items()
    backup = await _get(stack, tenant_id, backup_id)
    assert backup.state == backup_pb2.BACKUP_STATE_COMPLETE
    assert (backup.object_count, backup.object_bytes) == (
        len(files),
        sum(map(len, files.values())),
    )
    assert await stack.leftovers() == NOTHING


async def test_a_backup_is_restored_as_another_tenant_beside_the_first(stack: BackupStack) -> None:
    tenant_id = await stack.created()
    files = await stack.filled(tenant_id)
    before = await stack.content(tenant_id)
    backup_id = await stack.back_up(tenant_id)
    new_id = f"other-{uuid.uuid4().hex[:8]}"

    restored = await stack.restore(tenant_id, backup_id, new_id)

    assert restored.state is OperationState.DONE, restored.message
    assert await stack.content(new_id) == before
    assert stack.stored(new_id) == files
    assert await stack.content(tenant_id) == before
    tenant = await stack.tenant(new_id)
    assert (tenant.state, tenant.name) == ("active", "Acme")
    assert tenant.path_prefix == f"storage/{tenant_id}"
    assert await stack.leftovers() == NOTHING


async def test_a_clone_has_what_the_tenant_has_and_leaves_no_backup(stack: BackupStack) -> None:
    tenant_id = await stack.created()
    files = await stack.filled(tenant_id)
    before = await stack.content(tenant_id)
    new_id = f"clone-{uuid.uuid4().hex[:8]}"

    begun = await stack.backups.CloneTenant(
        pb.CloneTenantRequest(
            tenant_id=tenant_id, new_tenant_id=new_id, new_name="Clone", request_id="c1"
        )
    )
    await stack.done(begun.operation.operation_id)

    assert await stack.content(new_id) == before
    assert stack.stored(new_id) == files
    assert [path for path in stack.folder.rglob("*") if path.is_file()] == []
    assert await stack.leftovers() == NOTHING


async def test_sequences_go_on_and_the_audit_log_is_whole_after_a_restoration(
    stack: BackupStack,
) -> None:
    tenant_id = await stack.created()
    await stack.filled(tenant_id)
    backup_id = await stack.back_up(tenant_id)

    await stack.restore(tenant_id, backup_id)

    connection = await stack.superuser(tenant_id)
    last = await connection.fetchval("SELECT max(id) FROM steps")
    run_id = await connection.fetchval("SELECT id FROM runs LIMIT 1")
    inserted = await connection.fetchval(
        "INSERT INTO steps (run_id, step, status) VALUES ($1, 'next', 'completed') RETURNING id",
        run_id,
    )
    await connection.execute("SELECT audit_append('ada', 'a', 'b', 'c', NULL)")
    await connection.close()
    assert inserted == last + 1
    verified = await stack.audit.VerifyAuditLog(VerifyAuditLogRequest(tenant_id=tenant_id))
    assert not verified.HasField("first_fault")
    assert (verified.entry_count, verified.unchained_count) == (verified.head_sequence, 0)
    assert verified.entry_count == 5


async def test_the_second_backup_stores_new_objects_only_and_each_can_be_deleted(
    stack: BackupStack,
) -> None:
    tenant_id = await stack.created()
    first_files = await stack.filled(tenant_id)
    first = await stack.back_up(tenant_id)
    second_files = await stack.filled(tenant_id)
    second = await stack.back_up(tenant_id)

    made = await _get(stack, tenant_id, second)
    new_bytes = {body for body in second_files.values()} - {body for body in first_files.values()}
    assert made.object_count == len(first_files) + len(second_files)
    assert made.new_object_bytes == sum(map(len, new_bytes))

    await stack.delete(tenant_id, first)
    assert (await stack.verify(tenant_id, second)).state is OperationState.DONE
    await stack.delete(tenant_id, second)
    await stack.delete(tenant_id, second)  # again: it changes nothing
    assert [path for path in stack.folder.rglob("*") if path.is_file()] == []


async def test_a_verification_finds_a_backup_that_is_whole_and_leaves_nothing(
    stack: BackupStack,
) -> None:
    tenant_id = await stack.created()
    await stack.filled(tenant_id)
    backup_id = await stack.back_up(tenant_id)

    verified = await stack.verify(tenant_id, backup_id)

    assert verified.state is OperationState.DONE, verified.message
    backup = await _get(stack, tenant_id, backup_id)
    assert backup.verification == backup_pb2.BACKUP_VERIFICATION_PASSED
    assert await stack.leftovers() == NOTHING


@pytest.mark.parametrize("damaged", ["manifest.json", "database.dump", "objects.txt", "object"])
@pytest.mark.parametrize("how", ["changed", "missing"])
async def test_a_damaged_backup_is_found_and_never_restored(
    stack: BackupStack, damaged: str, how: str
) -> None:
    tenant_id = await stack.created()
    await stack.filled(tenant_id, runs=1)
    backup_id = await stack.back_up(tenant_id)
    before, tenant = await stack.content(tenant_id), await stack.tenant(tenant_id)
    files = [path for path in stack.folder.rglob("*") if path.is_file()]
    names = {path.name for path in files}
    of_kind = [
        path
        for path in files
        if path.stat().st_size
        and (path.name == damaged or (damaged == "object" and "objects" in path.parts))
    ]
    victim = random.choice(of_kind)  # noqa: S311
    assert {"manifest.json", "database.dump", "objects.txt"} <= names
    if how == "missing":
        victim.unlink()
    else:
        body = bytearray(victim.read_bytes())
        body[random.randrange(len(body))] ^= 1 << random.randrange(8)  # noqa: S311
        victim.write_bytes(body)

    verified = await stack.verify(tenant_id, backup_id)
    restored = await stack.restore(tenant_id, backup_id)
    copy_id = f"copy-{uuid.uuid4().hex[:8]}"
    copied = await stack.restore(tenant_id, backup_id, copy_id)

    assert stack.stored(copy_id) == {}
    for operation in (verified, restored, copied):
        assert operation.state is OperationState.FAILED
        assert operation.reason == "ERROR_REASON_BACKUP_DAMAGED", operation.message
    backup = await _get(stack, tenant_id, backup_id)
    assert backup.verification == backup_pb2.BACKUP_VERIFICATION_FAILED
    assert backup.verification_problem
    assert await stack.tenant(tenant_id) == tenant
    assert await stack.content(tenant_id) == before
    assert await stack.leftovers() == NOTHING


async def test_a_restored_log_must_have_what_the_backup_says_of_it(stack: BackupStack) -> None:
    tenant_id = await stack.created()
    await stack.filled(tenant_id, runs=1)
    backup_id = await stack.back_up(tenant_id)
    (manifest,) = stack.folder.glob(f"{tenant_id}-*/backups/{backup_id}/manifest.json")
    end = json.loads(manifest.read_bytes())["document"]["audit"]["sequence"]
    for new_tenant_id in ("", f"{tenant_id}-2"):
        assert (await stack.restore(tenant_id, backup_id, new_tenant_id)).state is DONE
        restored = new_tenant_id or tenant_id
        superuser = await stack.superuser(restored)
        await superuser.execute("SET session_replication_role = replica")
        await superuser.execute("UPDATE audit_logs SET user_id = 'eve' WHERE sequence = 1")
        await superuser.execute(RECHAIN)
        await superuser.close()

        found = await stack.audit.VerifyAuditLog(VerifyAuditLogRequest(tenant_id=restored))

        assert found.first_fault.sequence == end > 1


async def test_a_log_that_was_changed_is_backed_up_as_it_is_and_the_manifest_says_so(
    stack: BackupStack,
) -> None:
    tenant_id = await stack.created()
    await stack.filled(tenant_id, runs=1)
    superuser = await stack.superuser(tenant_id)
    await superuser.execute("SET session_replication_role = replica")
    await superuser.execute("UPDATE audit_logs SET user_id = 'eve' WHERE sequence = 2")
    await superuser.close()

    backup_id = await stack.back_up(tenant_id)

    (manifest,) = stack.folder.glob(f"{tenant_id}-*/backups/{backup_id}/manifest.json")
    assert json.loads(manifest.read_bytes())["document"]["audit_fault"] == 2
    assert (await stack.verify(tenant_id, backup_id)).state is DONE
    assert (await stack.restore(tenant_id, backup_id)).state is DONE
    found = await stack.audit.VerifyAuditLog(VerifyAuditLogRequest(tenant_id=tenant_id))
    assert found.first_fault.sequence == 2


async def test_a_purge_deletes_all_backups_of_its_tenant_and_no_others(stack: BackupStack) -> None:
    tenant_id, other_id = await stack.created(), await stack.created()
    for each in (tenant_id, other_id):
        await stack.filled(each, runs=1)
        await stack.back_up(each)
    await stack.back_up(tenant_id)
    tenant = await stack.tenant(tenant_id)
    deletion = stack.service.backups.deletion

    staging = stack.folder / ".staging"
    for owner in (tenant, await stack.tenant(other_id)):  # what a killed process leaves
        left = staging / f"{folder_of(owner)}.{uuid.uuid4()}.create"
        left.mkdir(parents=True)
        (left / "database.dump").write_bytes(b"rows")

    purged = await deletion.purge(tenant)
    again = await deletion.purge(tenant)

    assert (purged.backup_count, purged.files_after) == (2, 0)
    assert (purged.staged_before, purged.staged_after, again.staged_before) == (1, 0, 0)
    assert [path.name.partition(".")[0] for path in staging.iterdir()] == [
        folder_of(await stack.tenant(other_id))
    ]
    assert purged.files_before >= 6
    assert (again.backup_count, again.files_before, again.files_after) == (0, 0, 0)
    assert [path.name for path in stack.folder.glob(f"{tenant_id}-*")] == []
    listed = await stack.backups.ListBackups(pb.ListBackupsRequest(tenant_id=other_id))
    (kept,) = listed.backups
    assert (await stack.verify(other_id, kept.backup_id)).state is OperationState.DONE
