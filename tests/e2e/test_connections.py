"""Connections as foreign clients flood and drop them, through Envoy."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf import json_format
from google.rpc import error_details_pb2, status_pb2
from tests.support.public_api import create_pipeline, create_tenant

from nagaya.runs.v1 import (
    pipeline_service_pb2,
    pipeline_service_pb2_grpc,
    run_service_pb2,
    run_service_pb2_grpc,
)
from nagaya_local.clone.tokens import issue_tenant_token

if TYPE_CHECKING:
    from tests.support.stack import LocalStack

    from nagaya_client.client import Client

SPEC = {"steps": [{"step": "only", "function": {"function": "constant", "short": True}}]}
WATCHES = 100
ROUNDS = 5


@pytest.fixture
async def held(client: Client) -> run_service_pb2.WatchRunRequest:
    """A watch of a run on which nothing happens."""
    tenant_id = await create_tenant(client, "connect")
    await create_pipeline(client, tenant_id, "test", SPEC)
    request = run_service_pb2.CreateRunRequest(
        tenant_id=tenant_id, request_id=uuid.uuid4().hex, pipeline="test", hold=True
    )
    created = await client.runs.CreateRun(request)
    return run_service_pb2.WatchRunRequest(tenant_id=tenant_id, run_id=created.run.run_id)


async def test_watches_that_are_cancelled_or_dropped_leave_nothing_behind(
    stack: LocalStack, client: Client, held: run_service_pb2.WatchRunRequest
) -> None:
    listing = run_service_pb2.ListRunsRequest(tenant_id=held.tenant_id)
    memory: list[int] = []
    for _ in range(ROUNDS):
        opened = await _watch_and_drop(stack, held)
        assert opened == {"ok": WATCHES}
        await client.runs.ListRuns(listing)
        memory.append(_memory_kib(stack))

    assert memory[-1] - memory[0] < 8 * 1024, memory
    assert await _watch_and_drop(stack, held) == {"ok": WATCHES}


async def test_a_refusal_of_many_faults_arrives_whole_through_envoy(
    stack: LocalStack, held: run_service_pb2.WatchRunRequest
) -> None:
    steps: list[dict[str, Any]] = [
        {
            "step": f"s{number}",
            "needs": [f"none{other}" for other in range(number, number + 10)],
            "function": {"function": "constant"},
        }
        for number in range(200)
    ]
    request = pipeline_service_pb2.ValidatePipelineRequest(tenant_id=held.tenant_id)
    json_format.ParseDict({"steps": steps}, request.spec)
    async with stack.channel("runs") as channel:
        pipelines = pipeline_service_pb2_grpc.PipelineServiceStub(channel)
        for _ in range(20):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await pipelines.ValidatePipeline(
                    request, metadata=credentials(stack, held.tenant_id)
                )
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            reason, violations = _details(refused.value)
            assert reason == "ERROR_REASON_PIPELINE_INVALID"
            assert violations > 10


@pytest.mark.parametrize("entries", [101, 250])
async def test_too_many_metadata_entries_get_a_reason_through_envoy(
    stack: LocalStack, held: run_service_pb2.WatchRunRequest, entries: int
) -> None:
    own = [(f"x-own-{number}", "1") for number in range(entries)]
    listing = run_service_pb2.ListRunsRequest(tenant_id=held.tenant_id)
    async with stack.channel("runs") as channel:
        runs = run_service_pb2_grpc.RunServiceStub(channel)
        metadata = credentials(stack, held.tenant_id)
        await runs.ListRuns(listing, metadata=[*metadata, *own[:50]])
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await runs.ListRuns(listing, metadata=[*metadata, *own])

    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert _details(refused.value)[0] == "ERROR_REASON_REQUEST_INVALID"


WATCHER = """
import asyncio, collections, json, os, pathlib, sys
import grpc
from nagaya.runs.v1 import run_service_pb2, run_service_pb2_grpc
from tls.address import ServerAddress
from tls.config import ClientTls
from tls.credentials import Connection

text, ca_file, tenant_id, run_id, count, token = sys.argv[1:]
address = ServerAddress.parse(text, ClientTls(pathlib.Path(ca_file)))

async def main():
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [Connection(address, options).current() for _ in range(10)]
    request = run_service_pb2.WatchRunRequest(tenant_id=tenant_id, run_id=run_id)
    metadata = [("authorization", f"Bearer {token}")]

    async def watch(number):
        stub = run_service_pb2_grpc.RunServiceStub(channels[number % 10])
        stream = stub.WatchRun(request, metadata=metadata)
        try:
            await stream.read()
        except grpc.aio.AioRpcError as error:
            return stream, error.code().name
        return stream, "ok"

    opened = await asyncio.gather(*map(watch, range(int(count))))
    for stream, _ in opened[::2]:
        stream.cancel()
    print(json.dumps(collections.Counter(word for _, word in opened)), flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


async def _watch_and_drop(
    stack: LocalStack, held: run_service_pb2.WatchRunRequest
) -> dict[str, int]:
    """Open watches, cancel half of them, and kill the process that holds the rest."""
    (_, bearer), *_ = credentials(stack, held.tenant_id)
    endpoints = stack.endpoints
    place = (endpoints.runs, endpoints.ca_file, held.tenant_id, held.run_id, str(WATCHES))
    watcher = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", WATCHER, *place, bearer.removeprefix("Bearer ")),
        stdout=asyncio.subprocess.PIPE,
    )
    assert watcher.stdout is not None
    opened: dict[str, int] = json.loads(await watcher.stdout.readline())
    watcher.send_signal(signal.SIGKILL)
    await watcher.wait()
    return opened


def _memory_kib(stack: LocalStack) -> int:
    pid = json.loads(stack.layout.pids.read_text())["runs"]
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmRSS")).split()[1])


def credentials(stack: LocalStack, tenant_id: str) -> list[tuple[str, str]]:
    """Return the metadata of a call by somebody of a tenant."""
    token = issue_tenant_token(stack.layout, tenant_id).read_text().strip()
    return [("authorization", f"Bearer {token}")]


def _details(error: grpc.aio.AioRpcError) -> tuple[str, int]:
    """Return a refusal's reason and the count of its violations."""
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for key, value in error.trailing_metadata():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            for detail in status_pb2.Status.FromString(value).details:
                detail.Unpack(info)
                detail.Unpack(bad)
    return info.reason, len(bad.field_violations)
