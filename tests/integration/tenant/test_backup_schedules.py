"""Backups that are made by themselves, and deleted by themselves."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

import asyncpg
import pytest
from google.protobuf.duration_pb2 import Duration

from nagaya.tenant.v1 import backup_service_pb2 as pb
from servicekit.errors import Conflict, NotFound
from tenant.composition import compose

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.integration.tenant.backup_stack import BackupStack

    from nagaya.tenant.v1 import backup_pb2
    from nagaya_local.parts.postgres import PostgresServer
    from tenant.config import Config


@pytest.fixture
async def superuser_of_management(
    config: Config, postgres: PostgresServer
) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    connection = await asyncpg.connect(postgres.superuser_url(config.database.database))
    yield connection
    await connection.close()


async def _schedule(
    stack: BackupStack, tenant_id: str, *, keep_count: int = 2, verify: bool = False
) -> backup_pb2.BackupSchedule:
    request = pb.SetBackupScheduleRequest(
        tenant_id=tenant_id,
        interval=Duration(seconds=3600),
        keep_count=keep_count,
        keep_for=Duration(seconds=0),
        verify=verify,
    )
    return (await stack.backups.SetBackupSchedule(request)).schedule


async def _backups(stack: BackupStack, tenant_id: str) -> list[backup_pb2.Backup]:
    listed = await stack.backups.ListBackups(pb.ListBackupsRequest(tenant_id=tenant_id))
    return list(listed.backups)


async def _last_begun(stack: BackupStack, tenant_id: str) -> str:
    request = pb.GetBackupScheduleRequest(tenant_id=tenant_id)
    return (await stack.backups.GetBackupSchedule(request)).schedule.last_operation_id


async def _become_due(management: asyncpg.Connection[asyncpg.Record], tenant_id: str) -> None:
    await management.execute(
        """
        UPDATE backup_schedules SET next_at = now() - interval '5 hours' WHERE tenant_id = $1
        """,
        tenant_id,
    )


async def test_a_due_backup_is_made_once_by_whichever_process_is_first(
    stack: BackupStack, superuser_of_management: asyncpg.Connection[asyncpg.Record]
) -> None:
    tenant_id = await stack.created()
    await _schedule(stack, tenant_id)
    async with compose(stack.config) as other:
        await other.startup.run()
        await asyncio.gather(
            *(process.backups.schedules.follow() for process in (stack.service, other) * 3)
        )
        (first,) = await _backups(stack, tenant_id)
        await stack.done(first.backup_id)
        assert first.scheduled

        # Due for five hours: it is made once, and the next one an hour later.
        await _become_due(superuser_of_management, tenant_id)
        await asyncio.gather(
            *(process.backups.schedules.follow() for process in (stack.service, other) * 3)
        )
        assert len(await _backups(stack, tenant_id)) == 2


async def test_no_backup_is_begun_while_the_tenants_server_is_lost(
    stack: BackupStack, superuser_of_management: asyncpg.Connection[asyncpg.Record]
) -> None:
    tenant_id = await stack.created()
    await _schedule(stack, tenant_id)
    await _become_due(superuser_of_management, tenant_id)

    for state, begun in (("lost", 0), ("active", 1)):
        await superuser_of_management.execute("UPDATE db_servers SET state = $1", state)
        await stack.service.backups.schedules.follow()
        assert len(await _backups(stack, tenant_id)) == begun


async def test_expired_backups_go_and_the_newest_of_a_schedule_stay(
    stack: BackupStack, superuser_of_management: asyncpg.Connection[asyncpg.Record]
) -> None:
    tenant_id = await stack.created()
    await _schedule(stack, tenant_id, keep_count=2, verify=True)
    manual = await stack.back_up(tenant_id)
    made: list[str] = []
    for _ in range(4):
        await _become_due(superuser_of_management, tenant_id)
        await stack.service.backups.schedules.follow()
        newest = await _last_begun(stack, tenant_id)
        assert newest not in made
        await stack.done(newest)
        made.append(newest)
        verification = await stack.operation_of_request(f"verify/{newest}")
        await stack.done(verification.operation_id)

    await stack.service.backups.schedules.follow()

    left = {backup.backup_id for backup in await _backups(stack, tenant_id)}
    assert left == {manual, *made[-2:]}
    folders = {path.parent.name for path in stack.folder.rglob("manifest.json")}
    assert folders == left


async def test_a_backup_that_cannot_be_deleted_keeps_no_other_from_being_deleted(
    stack: BackupStack, superuser_of_management: asyncpg.Connection[asyncpg.Record]
) -> None:
    damaged, well = await stack.created(), await stack.created()
    stuck, lacking = await stack.back_up(damaged), await stack.back_up(damaged)
    expired = await stack.back_up(well)
    (listed,) = stack.folder.rglob(f"{lacking}/objects.txt")
    listed.unlink()
    await superuser_of_management.execute(
        "UPDATE backups SET expires_at = now() WHERE id = ANY($1)",
        [uuid.UUID(stuck), uuid.UUID(expired)],
    )

    await stack.service.backups.schedules.follow()

    assert {backup.backup_id for backup in await _backups(stack, damaged)} == {stuck, lacking}
    assert await _backups(stack, well) == []


async def test_no_backup_is_made_of_a_suspended_tenant_until_it_is_resumed(
    stack: BackupStack,
) -> None:
    tenant_id = await stack.created()
    await _schedule(stack, tenant_id)
    await stack.service.tenants.suspend(tenant_id)
    await stack.service.backups.schedules.follow()
    assert await _backups(stack, tenant_id) == []
    with pytest.raises(Conflict):
        await stack.back_up(tenant_id)

    await stack.service.tenants.resume(tenant_id)
    await stack.service.backups.schedules.follow()
    assert len(await _backups(stack, tenant_id)) == 1


async def test_a_schedule_is_shown_changed_and_deleted(stack: BackupStack) -> None:
    tenant_id = await stack.created()
    request = pb.GetBackupScheduleRequest(tenant_id=tenant_id)
    assert not (await stack.backups.GetBackupSchedule(request)).HasField("schedule")
    await _schedule(stack, tenant_id, keep_count=3)
    shown = (await stack.backups.GetBackupSchedule(request)).schedule
    assert (shown.keep_count, shown.interval.seconds) == (3, 3600)
    for _ in range(2):
        await stack.backups.DeleteBackupSchedule(
            pb.DeleteBackupScheduleRequest(tenant_id=tenant_id)
        )
    assert not (await stack.backups.GetBackupSchedule(request)).HasField("schedule")
    with pytest.raises(NotFound):
        await _schedule(stack, "nobody-here")
