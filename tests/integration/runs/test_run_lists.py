"""Lists of runs by what people look for, and what that costs a run's updates."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from google.protobuf.json_format import ParseDict
from tests.support.runs_client import reason

from nagaya.runs.v1 import run_service_pb2
from runs.domain.activities import RunRef, StepRef
from runs.domain.generation import CallUsage, TokenUsage
from runs.domain.run_filters import RunFilter
from runs.domain.runs import OutputFile, RunStatus
from runs.domain.transitions import StepOutcome, Transitions
from runs.errors import RequestIdReused
from runs.store import journal
from runs.store import runs as run_store
from servicekit.errors import DomainError

if TYPE_CHECKING:
    import asyncpg
    from tests.support.runs_client import RunsClient
    from tests.support.runs_service import RunsService

    from dataplane.pools import Connection
    from nagaya.runs.v1 import run_pb2

MORNING = datetime(2026, 11, 30, 6, tzinfo=UTC)


@pytest.fixture
async def night(client: RunsClient, database: asyncpg.Connection) -> list[str]:
    """Six runs of a night, an hour apart, the first at six: what they are is in their numbers."""
    await client.pipeline()
    made: list[str] = []
    for number in range(6):
        labels = {"customer": "ada" if number % 2 else "bob", "batch": f"b{number // 3}"}
        run = await client.run(hold=True, labels=labels)
        made.append(run.run_id)
        status = ("pending", "failed", "completed")[number % 3]
        moment = MORNING + timedelta(hours=number)
        await database.execute(
            "UPDATE run_labels SET run_created_at = $2 WHERE run_id = $1", UUID(run.run_id), moment
        )
        await database.execute(
            "UPDATE runs SET status = $2, created_at = $3, cost_micro_usd = $4 WHERE id = $1",
            UUID(run.run_id),
            status,
            moment,
            1_000 * number,
        )
    return made


async def listed(client: RunsClient, **fields: object) -> list[run_pb2.Run]:
    request = ParseDict(
        {"tenant_id": "acme", "page_size": 2, **fields}, run_service_pb2.ListRunsRequest()
    )
    found: list[run_pb2.Run] = []
    while True:
        page = await client.runs.ListRuns(request)
        found += page.runs
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, [5, 4, 3, 2, 1, 0]),
        ({"states": ["RUN_STATE_FAILED"]}, [4, 1]),
        ({"states": ["RUN_STATE_FAILED", "RUN_STATE_PENDING"]}, [4, 3, 1, 0]),
        ({"labels": {"customer": "ada"}}, [5, 3, 1]),
        ({"labels": {"customer": "ada", "batch": "b1"}}, [5, 3]),
        ({"labels": {"customer": "eve"}}, []),
        ({"create_time_from": "2026-11-30T08:00:00Z"}, [5, 4, 3, 2]),
        ({"create_time_before": "2026-11-30T08:00:00Z"}, [1, 0]),
        ({"min_cost_micro_usd": 3_000}, [5, 4, 3]),
        ({"max_cost_micro_usd": 0}, [0]),
        ({"min_cost_micro_usd": 1_000, "max_cost_micro_usd": 2_000}, [2, 1]),
        (
            {
                "pipeline": "article",
                "states": ["RUN_STATE_COMPLETED"],
                "labels": {"customer": "ada"},
                "create_time_from": "2026-11-30T07:00:00Z",
                "min_cost_micro_usd": 1,
            },
            [5],
        ),
        ({"pipeline": "other"}, []),
    ],
)
async def test_runs_are_found_by_what_is_true_of_them(
    client: RunsClient, night: list[str], wanted: dict[str, Any], expected: list[int]
) -> None:
    found = await listed(client, filter=wanted)

    assert [night.index(run.run_id) for run in found] == expected


async def test_a_filter_and_the_request_itself_say_the_same(
    client: RunsClient, night: list[str]
) -> None:
    state, pipeline = "RUN_STATE_FAILED", "article"
    both = {"state": state, "pipeline": pipeline}

    found = await listed(client, **both, filter={"states": [state], "pipeline": pipeline})
    assert [night.index(run.run_id) for run in found] == [4, 1]
    for other in ({"states": ["RUN_STATE_PAUSED"]}, {"pipeline": "other"}):
        with pytest.raises(DomainError) as refusal:
            await listed(client, **both, filter=other)
        assert reason(refusal) == "REQUEST_INVALID"


@pytest.mark.parametrize(
    "labels", [{"Customer": "ada"}, {"customer": ""}, {"customer": "a" * 129}, {"": "ada"}]
)
async def test_a_label_has_a_short_name_and_a_value(
    client: RunsClient, labels: dict[str, str]
) -> None:
    await client.pipeline()
    with pytest.raises(DomainError) as refusal:
        await client.run(hold=True, labels=labels)
    assert reason(refusal) == "REQUEST_INVALID"


async def test_labels_are_part_of_what_a_request_asks_for(service: RunsService) -> None:
    await service.pipeline()
    first = await service.run("r1", labels={"batch": "b1"})

    assert await service.run("r1", labels={"batch": "b1"}) == first
    assert first.labels == {"batch": "b1"}
    for other in ({"batch": "b2"}, {}):
        with pytest.raises(RequestIdReused):
            await service.run("r1", labels=other)


async def test_the_updates_of_a_run_touch_no_index(
    service: RunsService,
) -> None:
    """Tokens, costs and events of 40 steps are added to a run while it runs."""
    await service.pipeline()
    run = await service.run(labels={"batch": "b1"})
    await service.begin(run.run_id)
    usage = CallUsage("claude/x", "STEP_DEFAULT", TokenUsage(10, 20, 0, 0, 0), 1_000)
    ref = RunRef("acme", run.run_id, 1)
    async with service.tenants.connection("acme") as connection:
        before = await _updates(connection)
        for item in range(1, 41):
            output = OutputFile(f"storage/acme/x/{item}", "0" * 64, "2 characters", {})
            step = StepRef("acme", run.run_id, 1, "copy", item)
            transitions = Transitions(whole=((step, StepOutcome(output, usage)),))
            await journal.advance(connection, ref, [transitions])
        after = await _updates(connection)

    updates, beside_indexes = (now - then for now, then in zip(after, before, strict=True))
    assert updates == 40
    # Pages have room for some versions of the row: the first of a new page is no such update.
    assert beside_indexes >= 36
    assert (await service.find(run.run_id)).totals.cost_micro_usd == 40_000


async def _updates(connection: Connection) -> tuple[int, int]:
    """Return how many rows of `runs` were updated, and how many of them beside all indexes."""
    await connection.execute("SELECT pg_stat_force_next_flush()")
    row = await connection.fetchrow(
        "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_all_tables WHERE relname = 'runs'"
    )
    assert row is not None
    return row["n_tup_upd"], row["n_tup_hot_upd"]


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (RunFilter(), "runs_newest"),
        (RunFilter(statuses=frozenset({RunStatus.FAILED})), "runs_wrong"),
        (RunFilter(labels={"batch": "b1"}), "run_labels_pkey"),
        (RunFilter(least_micro_usd=900_000), "runs_cost"),
    ],
    ids=["all", "failed", "label", "cost"],
)
async def test_what_few_runs_have_is_found_by_an_index(
    service: RunsService, database: asyncpg.Connection, wanted: RunFilter, index: str
) -> None:
    """Of 6,000 runs three have failed, have the label, or cost a dollar."""
    await service.pipeline()
    await database.execute(
        """
        INSERT INTO runs (status, pipeline, pipeline_version, user_id, request_id, request_digest,
                          created_at, cost_micro_usd, labels)
        SELECT CASE WHEN n % 2000 = 0 THEN 'failed' ELSE 'completed' END, 'article', 1, 'ada',
               n::text, '', now() - n * interval '1 second',
               CASE WHEN n % 2000 = 0 THEN 1000000 ELSE n % 1000 END,
               jsonb_build_object('batch', CASE WHEN n % 2000 = 0 THEN 'b1' ELSE 'b2' END)
          FROM generate_series(1, 6000) AS n
        """
    )
    await database.execute(
        """
        INSERT INTO run_labels (name, value, run_created_at, run_id)
        SELECT key, value, created_at, id FROM runs, jsonb_each_text(labels)
        """
    )
    await database.execute("VACUUM ANALYZE runs, run_labels")
    async with service.tenants.connection("acme") as connection:
        before = await _scans(connection, index)
        page = await run_store.page(connection, wanted, 50, "")
        scans = await _scans(connection, index) - before

    assert len(page.items) == (50 if wanted == RunFilter() else 3)
    assert scans == 1


async def _scans(connection: Connection, index: str) -> int:
    """Return how often an index was used by now."""
    await connection.execute("SELECT pg_stat_force_next_flush()")
    sql = "SELECT idx_scan FROM pg_stat_all_indexes WHERE indexrelname = $1"
    found: int = await connection.fetchval(sql, index)
    return found
