"""Watches on which nothing happens for longer than anything on the way waits: none is cut.

They are silent at the same time, since silence takes a minute; each test judges some of them.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
import pytest
from tests.e2e.article import EXAMPLE
from tests.e2e.go_programs import start
from tests.e2e.test_connections import SPEC, credentials
from tests.support.public_api import create_pipeline, create_tenant

from nagaya.runs.v1 import run_service_pb2, run_service_pb2_grpc
from nagaya_client.transfer import UploadTarget

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Mapping
    from pathlib import Path

    from tests.support.stack import LocalStack

    from nagaya_client.client import Client

# Longer than Envoy's defaults and the client's own patience: the longest is 32 s.
SILENT_SECONDS = 65.0
WAYS: tuple[str, ...] = ("directly", "through Envoy")

# The first build fetches and compiles gRPC for Go: two minutes on two cores, once.
pytestmark = pytest.mark.timeout(600)


@dataclass(frozen=True)
class Seen:
    """What each watcher has seen."""

    states: Mapping[str, list[grpc.ChannelConnectivity]]
    """Of the channel of a client that pings as often as it may, by its way to the server."""
    heartbeats: int
    """That came to the Python client."""
    go: tuple[int | None, str, str]
    """How Go's example ended, and what it wrote to stdout and stderr."""


@pytest.fixture(scope="module")
def seen(stack: LocalStack, go_programs: Path) -> Seen:
    return asyncio.run(_watch_idle(stack, go_programs))


@pytest.mark.parametrize("where", WAYS)
def test_a_client_that_pings_as_often_as_it_may_keeps_its_connection(
    seen: Seen, where: str
) -> None:
    states = seen.states[where]
    assert grpc.ChannelConnectivity.TRANSIENT_FAILURE not in states
    assert states.count(grpc.ChannelConnectivity.READY) == 1


def test_a_watch_on_which_nothing_happens_is_not_cut(seen: Seen) -> None:
    assert seen.heartbeats >= 6


def test_a_watch_of_go_s_client_is_not_cut_while_nothing_happens(seen: Seen) -> None:
    status, out, errors = seen.go

    # A broken stream would be taken up again, and told on stderr.
    assert (status, errors) == (0, "")
    assert out.splitlines()[-1].endswith(" RUN_STATE_COMPLETED")


async def _watch_idle(stack: LocalStack, go_programs: Path) -> Seen:
    """Watch a run that waits for its input, in every way at once; let it end afterwards."""
    async with stack.client() as client:
        tenant_id = await create_tenant(client, "silent")
        await create_pipeline(client, tenant_id, "test", SPEC)
        request = run_service_pb2.CreateRunRequest(
            tenant_id=tenant_id, request_id=uuid.uuid4().hex, pipeline="test", hold=True
        )
        run_id = (await client.runs.CreateRun(request)).run.run_id
        watch = run_service_pb2.WatchRunRequest(tenant_id=tenant_id, run_id=run_id)
        names = ("-tenant", tenant_id, "-run", run_id)
        go = await start(go_programs / "watch", stack, *names)
        pinging = asyncio.gather(*(_ping(stack, watch, direct=way == "directly") for way in WAYS))
        heartbeats, states = await asyncio.gather(_count_heartbeats(client, watch), pinging)
        await _release(client, tenant_id, run_id)
        out, errors = (part.decode() for part in await go.communicate())
    return Seen(dict(zip(WAYS, states, strict=True)), heartbeats, (go.returncode, out, errors))


async def _ping(
    stack: LocalStack, request: run_service_pb2.WatchRunRequest, *, direct: bool
) -> list[grpc.ChannelConnectivity]:
    """Watch on a channel that pings; fail if the watch ends. Return the channel's states."""
    # Every 10 s is what gRPC's own servers allow at most; clients round it down.
    options = [
        ("grpc.keepalive_time_ms", 9_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    states: list[grpc.ChannelConnectivity] = []
    async with stack.channel("runs", options, direct=direct) as channel:
        metadata = credentials(stack, request.tenant_id)
        runs = run_service_pb2_grpc.RunServiceStub(channel)
        noting = asyncio.create_task(_note_states(channel, states))
        watch = runs.WatchRun(request, metadata=metadata)
        await asyncio.wait({asyncio.create_task(_read_to_the_end(watch))}, timeout=SILENT_SECONDS)
        assert not watch.done()
        listing = run_service_pb2.ListRunsRequest(tenant_id=request.tenant_id)
        await runs.ListRuns(listing, metadata=metadata)
        noting.cancel()
    return states


async def _count_heartbeats(client: Client, request: run_service_pb2.WatchRunRequest) -> int:
    began, heartbeats = time.monotonic(), 0
    async for response in client.runs.WatchRun(request):
        heartbeats += response.WhichOneof("part") == "heartbeat_sequence"
        if time.monotonic() - began > SILENT_SECONDS:
            break
    return heartbeats


async def _read_to_the_end(watch: AsyncIterable[run_service_pb2.WatchRunResponse]) -> None:
    async for _ in watch:
        pass


async def _note_states(channel: grpc.aio.Channel, states: list[grpc.ChannelConnectivity]) -> None:
    while True:
        states.append(channel.get_state())
        await channel.wait_for_state_change(states[-1])


async def _release(client: Client, tenant_id: str, run_id: str) -> None:
    source = EXAMPLE / "briefs" / "heat-pumps.json"
    await client.upload(tenant_id, UploadTarget(run_id, "input"), source)
    await client.runs.StartRun(run_service_pb2.StartRunRequest(tenant_id=tenant_id, run_id=run_id))
