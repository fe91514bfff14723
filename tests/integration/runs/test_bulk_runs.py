"""BulkRuns: the runs that a filter names, steered as by their own methods."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

from nagaya.runs.v1 import run_pb2, run_service_pb2

if TYPE_CHECKING:
    import asyncpg
    from tests.support.runs_client import RunsClient

PAUSE, CANCEL = run_service_pb2.RUN_OPERATION_PAUSE, run_service_pb2.RUN_OPERATION_CANCEL
RETRY = run_service_pb2.RUN_OPERATION_RETRY


async def steer(
    client: RunsClient,
    operation: run_service_pb2.RunOperation.ValueType,
    *,
    dry_run: bool = False,
    page_token: str = "",
    page_size: int = 2,
    states: tuple[run_pb2.RunState.ValueType, ...] = (),
) -> run_service_pb2.BulkRunsResponse:
    request = run_service_pb2.BulkRunsRequest(
        tenant_id="acme",
        request_id=secrets.token_hex(8),
        filter=run_pb2.RunFilter(pipeline="article", states=states),
        operation=operation,
        dry_run=dry_run,
        page_size=page_size,
        page_token=page_token,
    )
    return await client.runs.BulkRuns(request)


async def test_many_runs_are_steered_and_what_is_refused_for_one_keeps_no_other(
    client: RunsClient,
) -> None:
    await client.pipeline()
    free = await client.run(inline={})
    held = await client.run(hold=True)
    other = await client.run(inline={})

    page = await steer(client, PAUSE, dry_run=True)
    assert [each.run.run_id for each in page.results] == [other.run_id, held.run_id]
    assert [each.refusal.reason for each in page.results] == ["", "RUN_HELD"]
    assert (await client.get(other.run_id)).state == run_pb2.RUN_STATE_PENDING

    first = await steer(client, PAUSE)
    last = await steer(client, PAUSE, page_token=first.next_page_token)
    assert [each.run.state for each in (*first.results, *last.results)] == [
        run_pb2.RUN_STATE_PAUSED,
        run_pb2.RUN_STATE_PENDING,
        run_pb2.RUN_STATE_PAUSED,
    ]
    assert not last.next_page_token
    found = await steer(client, CANCEL, states=(run_pb2.RUN_STATE_PAUSED,))
    assert {each.run.run_id for each in found.results} == {free.run_id, other.run_id}
    assert {each.run.state for each in found.results} == {run_pb2.RUN_STATE_CANCELLED}


async def test_300_failed_runs_are_retried_page_by_page_each_once(
    client: RunsClient, database: asyncpg.Connection
) -> None:
    await client.pipeline()
    for _ in range(300):
        await client.run(inline={})
    await database.execute("UPDATE runs SET status = 'failed', ended_at = now()")
    await database.execute("DELETE FROM outbox")
    failed = (run_pb2.RUN_STATE_FAILED,)
    page = await steer(client, RETRY, states=failed, page_size=200)
    pages = [page]
    while page.next_page_token:
        page = await steer(
            client, RETRY, states=failed, page_size=200, page_token=page.next_page_token
        )
        pages.append(page)

    results = [each for page in pages for each in page.results]
    assert len({each.run.run_id for each in results}) == len(results) == 300
    assert not any(each.refusal.reason for each in results)
    assert not (await steer(client, RETRY, states=failed)).results
    assert await database.fetchval("SELECT count(*) FROM runs WHERE epoch = 2") == 300


@pytest.mark.parametrize("dry_run", [False, True])
async def test_a_run_that_is_not_over_is_not_retried(client: RunsClient, *, dry_run: bool) -> None:
    await client.pipeline()
    await client.run(inline={})
    (result,) = (await steer(client, RETRY, dry_run=dry_run)).results
    assert (result.refusal.reason, result.run.state) == (
        "RUN_NOT_FINISHED",
        run_pb2.RUN_STATE_PENDING,
    )
