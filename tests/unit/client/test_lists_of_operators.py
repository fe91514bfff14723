"""What operators list and change with one call: the request, and what is shown of the answer."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from nagaya.tenant.v1 import (
    audit_log_pb2,
    audit_service_pb2,
    operation_pb2,
    operation_service_pb2,
    rollout_pb2,
    schema_service_pb2,
    secret_service_pb2,
    server_pb2,
    server_service_pb2,
)
from nagaya_client.cli.main import run

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from tests.unit.client.api import Api

pytestmark = pytest.mark.usefixtures("here")
ID = str(uuid.uuid4())
ROLLOUT = rollout_pb2.Rollout(rollout_id="r1", state=rollout_pb2.ROLLOUT_STATE_PAUSED)
FAILED = rollout_pb2.ROLLOUT_TENANT_STATE_FAILED
SECOND = server_pb2.Server(server_id="second", state=server_pb2.SERVER_STATE_DRAINING)


@pytest.mark.parametrize(
    ("words", "request_", "response", "shown"),
    [
        (
            "server drain second --undo",
            server_service_pb2.DrainServerRequest(server_id="second", undo=True),
            server_service_pb2.DrainServerResponse(server=SECOND),
            "draining",
        ),
        (
            "server drain second --lost",
            server_service_pb2.DrainServerRequest(server_id="second", lost=True),
            server_service_pb2.DrainServerResponse(
                server=server_pb2.Server(state=server_pb2.SERVER_STATE_LOST)
            ),
            "lost",
        ),
        (
            "server unregister second",
            server_service_pb2.UnregisterServerRequest(server_id="second"),
            server_service_pb2.UnregisterServerResponse(),
            "",
        ),
        (
            "audit management --limit 3",
            audit_service_pb2.ListAuditLogsRequest(page_size=3),
            audit_service_pb2.ListAuditLogsResponse(
                audit_logs=[audit_log_pb2.AuditLog(sequence=7, action="tenant.purged")]
            ),
            "tenant.purged",
        ),
        (
            "rollout get r1",
            schema_service_pb2.GetRolloutRequest(rollout_id="r1"),
            schema_service_pb2.GetRolloutResponse(rollout=ROLLOUT),
            "paused",
        ),
        (
            "rollout list --limit 3",
            schema_service_pb2.ListRolloutsRequest(page_size=3),
            schema_service_pb2.ListRolloutsResponse(rollouts=[ROLLOUT]),
            "r1",
        ),
        (
            "rollout pause r1",
            schema_service_pb2.PauseRolloutRequest(rollout_id="r1"),
            schema_service_pb2.PauseRolloutResponse(rollout=ROLLOUT),
            "paused",
        ),
        (
            "rollout tenants r1 --state failed --limit 3",
            schema_service_pb2.ListRolloutTenantsRequest(
                rollout_id="r1", state=FAILED, page_size=3
            ),
            schema_service_pb2.ListRolloutTenantsResponse(
                tenants=[rollout_pb2.RolloutTenant(tenant_id="acme", state=FAILED)]
            ),
            "acme",
        ),
        (
            "schema status --tenant acme --limit 3",
            schema_service_pb2.GetSchemaStatusRequest(tenant_id="acme", page_size=3),
            schema_service_pb2.GetSchemaStatusResponse(),
            "",
        ),
        (
            "keys list",
            secret_service_pb2.GetKeyRingRequest(),
            secret_service_pb2.GetKeyRingResponse(
                keys=[secret_service_pb2.EncryptionKey(key_id="k1", secret_count=41)]
            ),
            "41",
        ),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else None,
)
def test_a_command_asks_one_method_and_shows_its_answer(
    api: Api,
    capsys: pytest.CaptureFixture[str],
    words: str,
    request_: Message,
    response: Message,
    shown: str,
) -> None:
    method = type(request_).__name__.removesuffix("Request")
    api.on(method, response)

    assert run(words.split()) == 0

    assert [call.request for call in api.calls] == [request_]
    assert shown in capsys.readouterr().out


def test_a_rollout_is_watched_until_it_has_ended(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    running, done = operation_pb2.OPERATION_STATE_RUNNING, operation_pb2.OPERATION_STATE_DONE
    watched = operation_service_pb2.WatchOperationResponse
    begun = operation_pb2.Operation(operation_id="r1", state=running)
    last = operation_pb2.Operation(operation_id="r1", state=done)
    ended = rollout_pb2.Rollout(rollout_id="r1", state=rollout_pb2.ROLLOUT_STATE_DONE)
    api.on("GetOperation", operation_service_pb2.GetOperationResponse(operation=begun))
    api.on("WatchOperation", [watched(operation=begun), watched(operation=last)])
    api.on("GetRollout", schema_service_pb2.GetRolloutResponse(rollout=ended))

    assert run(["rollout", "watch", "r1"]) == 0

    assert "done" in capsys.readouterr().out


def test_keys_are_rotated_by_an_operation(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    begun = operation_pb2.Operation(operation_id=ID, state=operation_pb2.OPERATION_STATE_RUNNING)
    api.on("RotateKeys", secret_service_pb2.RotateKeysResponse(operation=begun))

    assert run(["keys", "rotate", "--request-id", "r1", "--no-wait", "-o", "id"]) == 0

    (call,) = api.called("RotateKeys")
    assert call.request == secret_service_pb2.RotateKeysRequest(request_id="r1")
    assert capsys.readouterr().out == f"{ID}\n"
