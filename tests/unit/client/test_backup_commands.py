"""`nagaya backup` and `nagaya server`: what they ask, show and end with."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest
from google.protobuf.duration_pb2 import Duration

from nagaya.tenant.v1 import (
    backup_pb2,
    operation_pb2,
    operation_service_pb2,
    server_pb2,
    server_service_pb2,
)
from nagaya.tenant.v1 import backup_service_pb2 as pb
from nagaya_client.cli.main import run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.client.api import Api

pytestmark = pytest.mark.usefixtures("here")
ID, BACKUP_ID = str(uuid.uuid4()), str(uuid.uuid4())
RUNNING = operation_pb2.OPERATION_STATE_RUNNING
BEGUN = operation_pb2.Operation(operation_id=ID, tenant_id="acme", state=RUNNING)
DONE = operation_pb2.Operation(operation_id=ID, state=operation_pb2.OPERATION_STATE_DONE)
FAILED = operation_pb2.Operation(
    operation_id=ID,
    state=operation_pb2.OPERATION_STATE_FAILED,
    error=operation_pb2.OperationError(reason="ERROR_REASON_BACKUP_DAMAGED", message="damaged"),
)
BACKUP = backup_pb2.Backup(backup_id=BACKUP_ID, tenant_id="acme", row_count=1234)
HERE = ["--tenant", "acme"]


def ends(api: Api, last: operation_pb2.Operation) -> None:
    watched = operation_service_pb2.WatchOperationResponse
    api.on("WatchOperation", [watched(operation=BEGUN), watched(operation=last)])


def test_a_backup_is_shown_once_it_is_made(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    api.on("CreateBackup", pb.CreateBackupResponse(backup=BACKUP, operation=BEGUN))
    api.on("GetBackup", pb.GetBackupResponse(backup=BACKUP))
    ends(api, DONE)

    assert run(["backup", "create", *HERE, "--keep-for", "30d", "--request-id", "r1"]) == 0

    keep_for = Duration(seconds=30 * 86_400)
    asked = pb.CreateBackupRequest(tenant_id="acme", request_id="r1", keep_for=keep_for)
    assert api.called("CreateBackup")[0].request == asked
    out = capsys.readouterr().out
    assert BACKUP_ID in out
    assert run(["backup", "create", *HERE, "--keep-for", "a month"]) == 2


def test_a_backup_that_is_damaged_ends_the_verification_with_1(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    api.on("VerifyBackup", pb.VerifyBackupResponse(operation=BEGUN))
    ends(api, FAILED)

    assert run(["backup", "verify", BACKUP_ID, *HERE]) == 1

    assert f"nagaya operation resume {ID}" in capsys.readouterr().err
    (call,) = api.called("VerifyBackup")
    assert (call.request.tenant_id, call.request.backup_id) == ("acme", BACKUP_ID)


def test_a_backup_is_restored_in_place_or_beside(api: Api) -> None:
    api.on("RestoreBackup", pb.RestoreBackupResponse(operation=BEGUN))
    ends(api, DONE)

    restore = ["backup", "restore", BACKUP_ID, *HERE, "--request-id", "r1"]
    assert run(restore) == 0
    assert run([*restore, "--as", "acme-2", "--name", "Acme 2", "--server", "second"]) == 0

    assert run([*restore, "--server", "second"]) == 0

    in_place = pb.RestoreBackupRequest(tenant_id="acme", backup_id=BACKUP_ID, request_id="r1")
    beside = pb.RestoreBackupRequest(
        tenant_id="acme",
        backup_id=BACKUP_ID,
        request_id="r1",
        new_tenant_id="acme-2",
        new_name="Acme 2",
        server_id="second",
    )
    elsewhere = pb.RestoreBackupRequest(
        tenant_id="acme",
        backup_id=BACKUP_ID,
        request_id="r1",
        server_id="second",
    )
    calls = [call.request for call in api.called("RestoreBackup")]
    assert calls == [in_place, beside, elsewhere]


def test_backups_are_listed_shown_and_deleted(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    api.on("ListBackups", pb.ListBackupsResponse(backups=[BACKUP]))
    api.on("GetBackup", pb.GetBackupResponse(backup=BACKUP))
    api.on("DeleteBackup", pb.DeleteBackupResponse())

    assert run(["backup", "list", *HERE, "-o", "id"]) == 0
    assert run(["backup", "get", BACKUP_ID, *HERE, "-o", "id"]) == 0
    assert run(["backup", "delete", BACKUP_ID, *HERE]) == 0

    assert capsys.readouterr().out.splitlines()[:2] == [BACKUP_ID, BACKUP_ID]
    asked = pb.DeleteBackupRequest(tenant_id="acme", backup_id=BACKUP_ID)
    assert api.called("DeleteBackup")[0].request == asked


def test_a_schedule_is_shown_set_and_ended(api: Api) -> None:
    schedule = backup_pb2.BackupSchedule(tenant_id="acme")
    api.on("GetBackupSchedule", pb.GetBackupScheduleResponse(schedule=schedule))
    api.on("SetBackupSchedule", pb.SetBackupScheduleResponse(schedule=schedule))
    api.on("DeleteBackupSchedule", pb.DeleteBackupScheduleResponse())
    command = ["backup", "schedule", *HERE]

    assert run(command) == 0
    assert run([*command, "--every", "12h", "--keep", "3", "--keep-for", "2w", "--verify"]) == 0
    assert run([*command, "--off"]) == 0

    asked = pb.SetBackupScheduleRequest(
        tenant_id="acme",
        interval=Duration(seconds=12 * 3600),
        keep_count=3,
        keep_for=Duration(seconds=14 * 86_400),
        verify=True,
    )
    assert api.called("SetBackupSchedule")[0].request == asked
    assert len(api.called("GetBackupSchedule")) == len(api.called("DeleteBackupSchedule")) == 1


def test_a_server_is_registered_by_an_address_that_no_command_line_shows(
    api: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = server_pb2.Server(server_id="second", host="db2", port=5432, tenant_count=7)
    api.on("RegisterServer", server_service_pb2.RegisterServerResponse(server=server))
    api.on("GetServer", server_service_pb2.GetServerResponse(server=server))
    api.on("ListServers", server_service_pb2.ListServersResponse(servers=[server]))
    (file := tmp_path / "address").write_text("postgresql://p:secret@db2:5432/nagaya\n")

    register = ["server", "register", "second", "--address-file", str(file)]
    assert (
        run([*register, "--label", "region=eu", "--max-tenants", "9", "--connections", "80"]) == 0
    )
    assert run(["server", "get", "second"]) == 0
    assert run(["server", "list", "-o", "id"]) == 0

    asked = server_service_pb2.RegisterServerRequest(
        server_id="second",
        address="postgresql://p:secret@db2:5432/nagaya",
        labels={"region": "eu"},
        max_tenants=9,
        connection_budget=80,
    )
    assert api.called("RegisterServer")[0].request == asked
    shown = capsys.readouterr()
    assert "secret" not in shown.out + shown.err
    assert shown.out.endswith("second\n")
    assert run([*register, "--label", "eu"]) == 2
