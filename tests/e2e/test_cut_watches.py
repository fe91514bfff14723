"""Watches whose line is cut, and watches from any event on."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

import pytest
from tests.e2e.article import PIPELINE, brief, load_article
from tests.support.public_api import create_run, create_tenant, finish

from nagaya.runs.v1 import run_pb2, run_service_pb2
from nagaya_client.errors import ApiError

if TYPE_CHECKING:
    from nagaya_client.client import Client

CUT_SECONDS = 0.3


@pytest.fixture
async def tenant_id(client: Client) -> str:
    tenant_id = await create_tenant(client, "cut")
    await load_article(client, tenant_id)
    return tenant_id


async def test_a_watch_that_is_cut_all_the_time_brings_every_event_once(
    client: Client, tenant_id: str
) -> None:
    run_id = await create_run(client, tenant_id, PIPELINE, brief())
    seen: list[int] = []
    cuts = 0
    while await _read(client, tenant_id, run_id, seen, CUT_SECONDS * (1 + cuts / 10)):
        cuts += 1  # the next one comes later: also on a busy machine something is seen

    run = await finish(client, tenant_id, run_id)
    assert run.state == run_pb2.RUN_STATE_COMPLETED
    assert cuts > 3
    assert seen == list(range(1, run.last_sequence + 1))


async def test_a_watch_of_a_run_that_is_over_ends_from_wherever_it_begins(
    client: Client, tenant_id: str
) -> None:
    run_id = await create_run(client, tenant_id, PIPELINE, brief())
    last = (await finish(client, tenant_id, run_id)).last_sequence

    for after, expected in ((0, last), (last - 1, 1), (last, 0)):
        request = run_service_pb2.WatchRunRequest(
            tenant_id=tenant_id, run_id=run_id, after_sequence=after
        )
        async with asyncio.timeout(50):
            messages = [message async for message in client.runs.WatchRun(request)]
        seen = [message.event.sequence for message in messages if message.HasField("event")]
        assert seen == list(range(after + 1, after + expected + 1))


async def test_a_watch_from_before_the_beginning_or_behind_the_end_or_of_no_run_is_refused(
    client: Client, tenant_id: str
) -> None:
    run_id = await create_run(client, tenant_id, PIPELINE, brief())
    last = (await finish(client, tenant_id, run_id)).last_sequence

    for run, after, reason in (
        (run_id, -1, "REQUEST_INVALID"),
        (run_id, -(2**63), "REQUEST_INVALID"),
        (run_id, last + 1, "SEQUENCE_UNKNOWN"),
        (run_id, 10**12, "SEQUENCE_UNKNOWN"),
        (str(uuid.uuid4()), 0, "RUN_NOT_FOUND"),
        (str(uuid.uuid4()), 7, "RUN_NOT_FOUND"),
    ):
        request = run_service_pb2.WatchRunRequest(
            tenant_id=tenant_id, run_id=run, after_sequence=after
        )
        watch = aiter(client.runs.WatchRun(request))
        with pytest.raises(ApiError) as refused:
            await asyncio.wait_for(anext(watch), 60)
        assert refused.value.reason == f"ERROR_REASON_{reason}"


async def _read(
    client: Client, tenant_id: str, run_id: str, seen: list[int], seconds: float
) -> bool:
    """Read for so long from the last event on, and cut; whether there is more to come."""
    request = run_service_pb2.WatchRunRequest(
        tenant_id=tenant_id, run_id=run_id, after_sequence=len(seen)
    )
    watch = client.runs.WatchRun(request)
    try:
        async with asyncio.timeout(seconds):
            async for message in watch:
                if message.HasField("event"):
                    seen.append(message.event.sequence)  # noqa: PERF401 - kept when it is cut
    except TimeoutError:
        return True
    finally:
        watch.cancel()
    return False
