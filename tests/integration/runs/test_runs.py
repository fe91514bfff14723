from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from tests.support.audit_log import chain

from runs.domain.run_filters import RunFilter
from runs.domain.runs import RunStatus
from runs.errors import (
    PipelineNotFound,
    PromptUnusable,
    RequestIdReused,
    RunFinished,
    RunNotFound,
)
from runs.store import run_transitions
from runs.store import runs as run_store
from servicekit.errors import RequestInvalid

if TYPE_CHECKING:
    from tests.support.runs_service import RunsService

    from runs.api.launcher import Launcher

NO_RUN = "00000000-0000-0000-0000-000000000000"
OUTLINE = {
    "step": "outline",
    "llm": {"bindings": [{"variable": "topic", "output": {"step": "input"}}]},
}


async def counts(database: asyncpg.Connection) -> dict[str, int]:
    await chain(database)
    tables = ("runs", "run_events", "outbox", "audit_logs")
    return {name: await database.fetchval(f"SELECT count(*) FROM {name}") for name in tables}


async def test_a_run_is_recorded_whole_and_its_workflow_is_started(
    service: RunsService, database: asyncpg.Connection
) -> None:
    await service.pipeline()
    run = await service.run(config={"note": "for ada"})

    assert (run.status, run.pipeline_version, run.user_id) == (RunStatus.PENDING, 1, "ada")
    assert (run.settings, run.last_sequence, run.held) == ({"note": "for ada"}, 1, False)
    assert await counts(database) == {"runs": 1, "run_events": 1, "outbox": 1, "audit_logs": 2}
    state = await service.launcher.describe("acme", run.run_id)
    assert state is not None
    assert state.status == "running"


async def test_the_event_of_a_new_run_holds_no_body(
    service: RunsService, database: asyncpg.Connection
) -> None:
    await service.pipeline()
    await service.run(inline={"brief": "CANARY"}, config={"note": "CANARY"})

    payload = await database.fetchval("SELECT payload::text FROM run_events")
    assert "CANARY" not in payload
    assert "CANARY" in await database.fetchval("SELECT config::text FROM runs")


async def test_a_repeated_request_returns_the_first_run(
    service: RunsService, database: asyncpg.Connection
) -> None:
    await service.pipeline()
    first = await service.run("r1")
    again = await service.run("r1")

    assert again == first
    assert (await counts(database))["runs"] == 1


async def test_a_repeated_request_returns_the_first_run_although_the_pipeline_has_changed(
    service: RunsService,
) -> None:
    await service.prompts.create("acme", "p1", "outline", "Outline {{topic}}.")
    await service.prompts.activate("acme", "outline", 1)
    await service.pipeline(OUTLINE)
    choice = {"outline": {"model_id": "gpt-5"}}
    first = await service.run("r1", step_models=choice)
    await service.pipeline()  # without a step `outline`

    assert await service.run("r1", step_models=choice) == first
    with pytest.raises(RequestInvalid):
        await service.run("r2", step_models=choice)


async def test_a_request_id_cannot_be_reused_for_another_run(service: RunsService) -> None:
    await service.pipeline()
    await service.run("r1", inline=1)

    with pytest.raises(RequestIdReused):
        await service.run("r1", inline=2)


async def test_1_000_concurrent_requests_with_100_ids_make_100_runs(
    service: RunsService, database: asyncpg.Connection
) -> None:
    await service.pipeline()
    admitted = asyncio.Semaphore(256)  # as many as a server lets in for one tenant

    async def request(number: int) -> str:
        async with admitted:
            return (await service.run(f"r{number}", inline=number)).run_id

    created = await asyncio.gather(*(request(n % 100) for n in range(1_000)))

    assert len(set(created)) == 100
    expected = {"runs": 100, "run_events": 100, "outbox": 100, "audit_logs": 101}
    assert await counts(database) == expected


async def test_a_run_is_recorded_while_temporal_is_away(
    service: RunsService, unreachable_launcher: Launcher, database: asyncpg.Connection
) -> None:
    away = service.with_launcher(unreachable_launcher)
    await away.pipeline()
    run = await away.run()

    assert run.status is RunStatus.PENDING
    assert await database.fetchval("SELECT kind FROM outbox") == "start"


async def test_a_tenant_is_scheduled_once_for_many_runs(
    service: RunsService, registry: asyncpg.Connection
) -> None:
    await service.pipeline()
    await asyncio.gather(*(service.run() for _ in range(5)))
    noted = await registry.fetchrow("SELECT xmin::text, * FROM runs_pending_work")
    await service.run()

    assert noted is not None
    assert (noted["tenant_id"], noted["kind"]) == ("acme", "runs")
    assert await registry.fetchrow("SELECT xmin::text, * FROM runs_pending_work") == noted


async def test_no_run_is_recorded_where_its_tenant_cannot_be_scheduled(
    service: RunsService, registry: asyncpg.Connection, database: asyncpg.Connection
) -> None:
    await service.pipeline()
    await registry.execute("ALTER TABLE runs_pending_work RENAME TO away")
    with pytest.raises(asyncpg.UndefinedTableError):
        await service.run()

    assert (await counts(database))["runs"] == 0


async def test_prompts_are_pinned_when_the_run_is_created(
    service: RunsService, database: asyncpg.Connection
) -> None:
    for n in (1, 2):
        await service.prompts.create("acme", f"p{n}", "outline", f"Take {n}: {{{{topic}}}}.")
    await service.prompts.activate("acme", "outline", 2)
    await service.pipeline(OUTLINE)
    await service.run()
    await service.prompts.activate("acme", "outline", 1)
    await service.run()

    rows = await database.fetch("SELECT prompt_versions FROM runs ORDER BY created_at")
    assert [json.loads(row["prompt_versions"]) for row in rows] == [{"outline": 2}, {"outline": 1}]


async def test_a_prompt_that_no_longer_fits_refuses_the_run_and_leaves_nothing(
    service: RunsService, database: asyncpg.Connection
) -> None:
    await service.prompts.create("acme", "p1", "outline", "Outline {{topic}}.")
    await service.prompts.activate("acme", "outline", 1)
    await service.pipeline(OUTLINE)
    await service.prompts.create("acme", "p2", "outline", "Outline {{subject}}.")
    await service.prompts.activate("acme", "outline", 2)

    with pytest.raises(PromptUnusable, match="needs subject, which is not bound"):
        await service.run()
    assert (await counts(database))["runs"] == 0


@pytest.mark.parametrize("fields", [{"pipeline": "other"}, {"pipeline_version": 2}])
async def test_a_run_of_no_known_pipeline_is_refused(
    service: RunsService, fields: dict[str, Any]
) -> None:
    await service.pipeline()

    with pytest.raises(PipelineNotFound):
        await service.run(**fields)


async def test_a_run_takes_the_newest_version_unless_it_names_one(service: RunsService) -> None:
    await service.pipeline()
    await service.pipeline()

    assert (await service.run()).pipeline_version == 2
    assert (await service.run(pipeline_version=1)).pipeline_version == 1


async def test_a_model_is_chosen_only_for_an_llm_step(service: RunsService) -> None:
    await service.pipeline()

    with pytest.raises(RequestInvalid) as refusal:
        await service.run(step_models={"copy": {"model_id": "gpt-5"}})
    assert [each.field for each in refusal.value.violations] == ['step_models["copy"]']


async def test_a_pending_run_is_cancelled_at_once(
    service: RunsService, database: asyncpg.Connection
) -> None:
    await service.pipeline()
    run = await service.run()
    cancelled = await service.steering.cancel("acme", run.run_id)
    again = await service.steering.cancel("acme", run.run_id)

    assert cancelled.status is RunStatus.CANCELLED
    assert again == cancelled
    assert cancelled.end_time is not None
    assert await counts(database) == {"runs": 1, "run_events": 2, "outbox": 0, "audit_logs": 3}


async def test_the_workflow_of_a_running_run_is_asked_to_stop(
    service: RunsService, database: asyncpg.Connection
) -> None:
    await service.pipeline()
    run = await service.run()
    await service.begin(run.run_id)
    asked = await service.steering.cancel("acme", run.run_id)

    assert asked.status is RunStatus.RUNNING
    assert await database.fetchval("SELECT count(*) FROM outbox") == 0


async def test_what_could_not_be_delivered_to_temporal_stays_in_the_outbox(
    service: RunsService, unreachable_launcher: Launcher, database: asyncpg.Connection
) -> None:
    await service.pipeline()
    run = await service.run()
    await service.begin(run.run_id)
    await service.with_launcher(unreachable_launcher).steering.cancel("acme", run.run_id)

    assert await database.fetchval("SELECT kind FROM outbox") == "cancel"


@pytest.mark.parametrize("status", [RunStatus.COMPLETED, RunStatus.FAILED])
async def test_a_finished_run_cannot_be_cancelled(service: RunsService, status: RunStatus) -> None:
    await service.pipeline()
    run = await service.run()
    async with service.tenants.transaction("acme") as connection:
        await run_transitions.finish(connection, run.run_id, 1, status)

    with pytest.raises(RunFinished) as refusal:
        await service.steering.cancel("acme", run.run_id)
    assert refusal.value.metadata == {"run_id": run.run_id, "state": status}


async def test_a_run_that_does_not_exist_cannot_be_cancelled_or_started(
    service: RunsService,
) -> None:
    with pytest.raises(RunNotFound):
        await service.steering.cancel("acme", NO_RUN)
    with pytest.raises(RunNotFound):
        await service.runs.start("acme", NO_RUN)


async def test_runs_are_listed_newest_first_and_filtered(service: RunsService) -> None:
    await service.pipeline()
    await service.pipeline(name="other")
    made = [await service.run(pipeline=name) for name in ("article", "other", "article", "article")]
    await service.steering.cancel("acme", made[0].run_id)

    async def listed(pipeline: str = "", status: RunStatus | None = None) -> list[str]:
        found: list[str] = []
        token, statuses = "", frozenset[RunStatus]() if status is None else frozenset({status})
        wanted = RunFilter(pipeline, statuses)
        async with service.tenants.connection("acme") as connection:
            while not found or token:
                page = await run_store.page(connection, wanted, 2, token)
                found += [run.run_id for run in page.items]
                token = page.next_token
        return found

    ids = [run.run_id for run in made]
    assert await listed() == ids[::-1]
    assert await listed("article") == [ids[3], ids[2], ids[0]]
    assert await listed("article", RunStatus.PENDING) == [ids[3], ids[2]]
    assert await listed(status=RunStatus.CANCELLED) == [ids[0]]
