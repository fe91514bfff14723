"""`buf curl`, as anybody tries an API out: it learns the contracts by reflection, through Envoy."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.e2e.article import PIPELINE, brief, load_article
from tests.support.public_api import create_tenant

from nagaya_local.clone.tokens import issue_tenant_token

if TYPE_CHECKING:
    from tests.support.stack import LocalStack

    from nagaya_client.client import Client

BUF = Path(sys.executable).with_name("buf")


def curl(
    stack: LocalStack, token: str, method: str, request: dict[str, Any]
) -> tuple[int, list[dict[str, Any]]]:
    """Call a method of the runs service; return the exit code and what was printed, in order."""
    done = subprocess.run(
        [
            BUF, "curl", "--protocol", "grpc",
            "--header", f"authorization: Bearer {token}", "--data", json.dumps(request),
            *stack.curl("runs", f"nagaya.runs.v1.RunService/{method}"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    left = (done.stdout or done.stderr).lstrip()
    printed: list[dict[str, Any]] = []
    while left:
        value, end = json.JSONDecoder().raw_decode(left)
        printed.append(value)
        left = left[end:].lstrip()
    return done.returncode, printed


@pytest.fixture
async def tenant_id(client: Client) -> str:
    tenant_id = await create_tenant(client, "curl")
    await load_article(client, tenant_id)
    return tenant_id


def test_buf_curl_creates_a_run_and_watches_it(stack: LocalStack, tenant_id: str) -> None:
    token = issue_tenant_token(stack.layout, tenant_id).read_text().strip()
    request = {
        "tenantId": tenant_id,
        "requestId": uuid.uuid4().hex,
        "pipeline": PIPELINE,
        "inline": brief(),
    }

    status, (created,) = curl(stack, token, "CreateRun", request)
    assert status == 0
    run_id = created["run"]["runId"]
    status, messages = curl(stack, token, "WatchRun", {"tenantId": tenant_id, "runId": run_id})

    assert status == 0
    events = [message["event"] for message in messages if "event" in message]
    assert [int(event["sequence"]) for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["run"]["state"] == "RUN_STATE_COMPLETED"


def test_buf_curl_gets_the_reason_of_a_refusal(stack: LocalStack, tenant_id: str) -> None:
    token = issue_tenant_token(stack.layout, "somebody-else").read_text().strip()
    status, (refusal,) = curl(stack, token, "ListRuns", {"tenantId": tenant_id})
    assert status != 0
    assert refusal["code"] == "permission_denied"
    assert refusal["details"][0]["type"] == "google.rpc.ErrorInfo"
