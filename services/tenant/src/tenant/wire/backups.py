"""Conversion of backups and their schedules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.duration_pb2 import Duration

from nagaya.tenant.v1 import backup_pb2, backup_service_pb2
from servicekit.times import timestamp
from tenant.domain.backups import BackupKind, BackupState, NewTenant, VerificationState

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from google.protobuf.timestamp_pb2 import Timestamp

    from tenant.domain.backups import Backup, BackupSchedule

_STATES = {
    BackupState.CREATING: backup_pb2.BACKUP_STATE_CREATING,
    BackupState.COMPLETE: backup_pb2.BACKUP_STATE_COMPLETE,
    BackupState.DELETING: backup_pb2.BACKUP_STATE_DELETING,
}
_VERIFICATIONS = {
    VerificationState.NEVER: backup_pb2.BACKUP_VERIFICATION_UNSPECIFIED,
    VerificationState.PASSED: backup_pb2.BACKUP_VERIFICATION_PASSED,
    VerificationState.FAILED: backup_pb2.BACKUP_VERIFICATION_FAILED,
}


def backup(found: Backup) -> backup_pb2.Backup:
    return backup_pb2.Backup(
        backup_id=found.backup_id,
        tenant_id=found.tenant_id,
        state=_STATES[found.state],
        scheduled=found.kind is BackupKind.SCHEDULED,
        create_time=timestamp(found.create_time),
        snapshot_time=_timestamp(found.snapshot_time),
        expire_time=_timestamp(found.expire_time),
        row_count=found.row_count,
        dump_bytes=found.dump_bytes,
        object_count=found.object_count,
        object_bytes=found.object_bytes,
        new_object_bytes=found.new_object_bytes,
        folder=found.path,
        manifest_digest=found.manifest_digest,
        verification=_VERIFICATIONS[found.verification],
        verify_time=_timestamp(found.verify_time),
        verification_problem=found.verification_problem,
    )


def schedule(found: BackupSchedule) -> backup_pb2.BackupSchedule:
    return backup_pb2.BackupSchedule(
        tenant_id=found.tenant_id,
        interval=_duration(found.interval),
        keep_count=found.keep_count,
        keep_for=_duration(found.keep_for),
        verify=found.verify,
        next_time=timestamp(found.next_time),
        last_operation_id=found.last_operation_id,
    )


def keep_for(request: backup_service_pb2.CreateBackupRequest) -> timedelta | None:
    return request.keep_for.ToTimedelta() if request.HasField("keep_for") else None


def new_tenant(
    request: backup_service_pb2.RestoreBackupRequest | backup_service_pb2.CloneTenantRequest,
) -> NewTenant:
    return NewTenant(request.new_tenant_id, request.new_name, request.server_id)


def _timestamp(moment: datetime | None) -> Timestamp | None:
    return None if moment is None else timestamp(moment)


def _duration(length: timedelta) -> Duration:
    message = Duration()
    message.FromTimedelta(length)
    return message
