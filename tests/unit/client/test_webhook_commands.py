"""`nagaya webhook`: each command makes one call of what was given; `verify` makes none."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from nagaya.runs.v1 import webhook_pb2
from nagaya.runs.v1 import webhook_service_pb2 as pb
from nagaya_client.cli.main import run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.client.api import Api

pytestmark = pytest.mark.usefixtures("here")

TENANT = ("-t", "acme")
URL = "https://example.com/nagaya"
SHOWN = webhook_pb2.WebhookEndpoint(endpoint="billing", dead_runs=2)
# The example of https://www.standardwebhooks.com, 2023-08-07, so that ours is not its own judge.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MESSAGE, TIMESTAMP = "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330"
BODY = b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_an_endpoint_is_created_and_changed(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    api.on("CreateWebhookEndpoint", pb.CreateWebhookEndpointResponse(endpoint=SHOWN, secret=SECRET))
    api.on("UpdateWebhookEndpoint", pb.UpdateWebhookEndpointResponse(endpoint=SHOWN))
    events = ("--event", "run.completed", "--event", "run.failed", "--pipeline", "article")

    words = ["webhook", "create", "billing", URL, *events, "--request-id", "mine", *TENANT]
    assert run([*words, "-o", "json"]) == 0
    assert SECRET in capsys.readouterr().out
    assert run(["webhook", "update", "billing", URL, "--disabled", *TENANT]) == 0
    (created,) = [call.request for call in api.called("CreateWebhookEndpoint")]
    assert (created.endpoint, created.request_id, created.spec.url) == ("billing", "mine", URL)
    assert list(created.spec.event_types) == ["run.completed", "run.failed"]
    assert list(created.spec.pipelines) == ["article"]
    (changed,) = [call.request for call in api.called("UpdateWebhookEndpoint")]
    assert (changed.disabled, list(changed.spec.event_types)) == (True, [])


def test_endpoints_and_deliveries_are_shown(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    dead = webhook_pb2.WEBHOOK_DELIVERY_STATE_DEAD
    row = webhook_pb2.WebhookDelivery(run_id="the-run", state=dead, failure="503")
    api.on("GetWebhookEndpoint", pb.GetWebhookEndpointResponse(endpoint=SHOWN))
    api.on("ListWebhookEndpoints", pb.ListWebhookEndpointsResponse(endpoints=[SHOWN]))
    api.on("ListWebhookDeliveries", pb.ListWebhookDeliveriesResponse(deliveries=[row]))

    assert run(["webhook", "get", "billing", *TENANT]) == 0
    assert run(["webhook", "list", *TENANT]) == 0
    assert run(["webhook", "deliveries", "billing", "--state", "dead", *TENANT]) == 0
    shown = capsys.readouterr().out
    assert "the-run" in shown
    assert "503" in shown
    (sent,) = [call.request for call in api.called("ListWebhookDeliveries")]
    assert (sent.endpoint, sent.state) == ("billing", dead)


def test_events_are_replayed_secrets_rotated_and_endpoints_deleted(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    api.on("ReplayWebhookDeliveries", pb.ReplayWebhookDeliveriesResponse(run_count=3))
    api.on("RotateWebhookSecret", pb.RotateWebhookSecretResponse(secret=SECRET))
    api.on("DeleteWebhookEndpoint", pb.DeleteWebhookEndpointResponse())

    assert run(["webhook", "replay", "billing", "--run", "r", "--from", "4", *TENANT]) == 0
    assert run(["webhook", "replay", "billing", "--from", "4", *TENANT]) == 2
    assert run(["webhook", "rotate-secret", "billing", *TENANT]) == 0
    assert SECRET in capsys.readouterr().out
    assert run(["webhook", "delete", "billing", *TENANT]) == 0
    (sent,) = [call.request for call in api.called("ReplayWebhookDeliveries")]
    assert (sent.run_id, sent.from_sequence) == ("r", 4)


@pytest.mark.parametrize(
    ("body", "signature", "more", "code"),
    [
        (BODY, SIGNATURE, ("--tolerance", "0"), 0),
        (BODY, f"v1,AAAA {SIGNATURE}", ("--tolerance", "0"), 0),
        (BODY, SIGNATURE, (), 1),
        (BODY + b" ", SIGNATURE, ("--tolerance", "0"), 1),
        (BODY, "v1,AAAA", ("--tolerance", "0"), 1),
    ],
    ids=["valid", "one of two", "too old", "changed", "another secret"],
)
def test_a_message_is_verified_without_a_server(
    api: Api, tmp_path: Path, body: bytes, signature: str, more: tuple[str, ...], code: int
) -> None:
    (tmp_path / "body").write_bytes(body)
    (tmp_path / "secret").write_text(SECRET + "\n")
    files = (str(tmp_path / "body"), "--secret-file", str(tmp_path / "secret"))
    headers = ("--id", MESSAGE, "--timestamp", TIMESTAMP, "--signature", signature)

    assert run(["webhook", "verify", *files, *headers, *more]) == code
    assert api.calls == []
    assert int(TIMESTAMP) < time.time() - 300
