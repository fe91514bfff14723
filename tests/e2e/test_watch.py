"""Watching through the load balancer, as any client does."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.public_api import create_pipeline, create_tenant

if TYPE_CHECKING:
    from tests.support.stack import LocalStack

    from nagaya_client.client import Client

SPEC = {"steps": [{"step": "only", "function": {"function": "constant", "short": True}}]}


@pytest.fixture
async def tenant_id(client: Client) -> str:
    tenant_id = await create_tenant(client, "watch")
    await create_pipeline(client, tenant_id, "test", SPEC)
    return tenant_id


async def test_buf_curl_creates_and_watches_a_run(stack: LocalStack, tenant_id: str) -> None:
    body = {"tenantId": tenant_id, "requestId": "r1", "pipeline": "test", "inline": "x"}
    (created,) = await _curl(stack, "CreateRun", body)
    run_id = created["run"]["runId"]
    watched = await _curl(stack, "WatchRun", {"tenantId": tenant_id, "runId": run_id})

    events = [message["event"] for message in watched if "event" in message]
    assert [int(event["sequence"]) for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["run"]["state"] == "RUN_STATE_COMPLETED"


async def _curl(stack: LocalStack, method: str, body: dict[str, str]) -> list[dict[str, Any]]:
    """Call a method of the runs service by reflection; return the messages that came."""
    token = (stack.layout.tokens / "operator.jwt").read_text().strip()
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("buf"),
        *("curl", "--protocol", "grpc"),
        *("--reflect", "--reflect-protocol", "grpc-v1"),
        *("--header", f"authorization: Bearer {token}", "--data", json.dumps(body)),
        *stack.curl("runs", f"nagaya.runs.v1.RunService/{method}"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    decoder, text = json.JSONDecoder(), out.decode().strip()
    messages: list[dict[str, Any]] = []
    while text:
        message, end = decoder.raw_decode(text)
        messages.append(message)
        text = text[end:].strip()
    return messages
