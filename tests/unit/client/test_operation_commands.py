"""`nagaya operation`, and how commands wait for operations."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import grpc
import pytest
from tests.unit.client.api import Refusal

from nagaya.tenant.v1 import operation_pb2, operation_service_pb2, server_service_pb2
from nagaya_client.cli.main import run

if TYPE_CHECKING:
    from tests.unit.client.api import Api

ID = str(uuid.uuid4())
pytestmark = pytest.mark.usefixtures("here")


def operation(
    state: operation_pb2.OperationState.ValueType = operation_pb2.OPERATION_STATE_RUNNING,
    **fields: object,
) -> operation_pb2.Operation:
    return operation_pb2.Operation(
        operation_id=ID,
        kind=operation_pb2.OPERATION_KIND_PURGE_TENANT,
        tenant_id="acme",
        state=state,
        **fields,  # pyright: ignore[reportArgumentType]
    )


def watched(*changes: operation_pb2.Operation) -> list[object]:
    return [operation_service_pb2.WatchOperationResponse(operation=change) for change in changes]


def test_watch_shows_each_change_and_the_end(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    progress = operation_pb2.OperationProgress(done=1200, total=5000, unit="objects")
    done = operation(operation_pb2.OPERATION_STATE_DONE, result={"certificate_id": "c1"})
    api.on("WatchOperation", watched(operation(step="close", progress=progress), done))

    assert run(["operation", "watch", ID]) == 0

    out, err = capsys.readouterr()
    assert "purge tenant acme, after close, 1,200 of 5,000 objects" in err
    assert "certificate_id=c1" in out


def test_a_failure_is_shown_with_the_command_that_resumes(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    error = operation_pb2.OperationError(reason="ERROR_REASON_X", message="no. Do else.")
    failed = operation(operation_pb2.OPERATION_STATE_FAILED, error=error)
    api.on("WatchOperation", watched(failed))

    assert run(["operation", "watch", ID]) == 1

    err = capsys.readouterr().err
    assert "error: no. Do else." in err
    assert "reason: ERROR_REASON_X" in err
    assert f"`nagaya operation resume {ID}`" in err


def test_a_watch_that_breaks_is_begun_again(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    answers = [
        Refusal(grpc.StatusCode.UNAVAILABLE, reason=""),
        watched(operation(operation_pb2.OPERATION_STATE_DONE)),
    ]
    api.on("WatchOperation", lambda _: answers.pop(0))

    assert run(["operation", "watch", ID]) == 0
    assert answers == []
    capsys.readouterr()


def test_no_wait_prints_the_operation_and_leaves(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    resumed = operation_service_pb2.ResumeOperationResponse(operation=operation())
    api.on("ResumeOperation", resumed)

    assert run(["operation", "resume", ID, "--no-wait"]) == 0

    assert ID in capsys.readouterr().out
    assert api.called("WatchOperation") == []


def test_the_list_can_be_limited_to_a_state(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    found = operation_service_pb2.ListOperationsResponse(operations=[operation()])
    api.on("ListOperations", found)

    assert run(["operation", "list", "--state", "running", "--tenant", "acme"]) == 0

    (call,) = api.called("ListOperations")
    assert call.request.state == operation_pb2.OPERATION_STATE_RUNNING
    assert call.request.tenant_id == "acme"
    assert "purge_tenant" in capsys.readouterr().out


def test_an_operation_is_shown_resumed_and_cancelled(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = {"bundle_id": "b1"}
    done = operation(operation_pb2.OPERATION_STATE_DONE, request_id="r1", result=bundle)
    cancelled = operation(operation_pb2.OPERATION_STATE_CANCELLED)
    api.on("GetOperation", operation_service_pb2.GetOperationResponse(operation=done))
    api.on("ResumeOperation", operation_service_pb2.ResumeOperationResponse(operation=operation()))
    api.on("WatchOperation", watched(done))
    api.on("CancelOperation", operation_service_pb2.CancelOperationResponse(operation=cancelled))

    assert run(["operation", "get", ID]) == 0
    shown = capsys.readouterr().out
    assert "r1" in shown
    assert "bundle_id=b1" in shown
    assert run(["operation", "resume", ID]) == 0
    assert run(["operation", "cancel", ID]) == 0

    assert "cancelled" in capsys.readouterr().out
    assert {call.request.operation_id for call in api.calls} == {ID}


def test_a_drain_that_moves_tenants_is_shown_until_it_has_ended(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    api.on("DrainServer", server_service_pb2.DrainServerResponse(operation=operation()))
    done = operation(operation_pb2.OPERATION_STATE_DONE, result={"moved_tenants": "3"})
    api.on("WatchOperation", watched(done))

    assert run(["server", "drain", "main", "--move"]) == 0

    (call,) = api.called("DrainServer")
    assert (call.request.server_id, call.request.move_tenants) == ("main", True)
    assert "moved_tenants=3" in capsys.readouterr().out
