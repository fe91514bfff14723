from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.json_format import ParseDict
from tests.support.audit_log import chain

from nagaya.runs.v1 import pipeline_pb2
from runs.api.app.pipelines import Pipelines
from runs.api.app.prompts import Prompts
from runs.errors import PipelineInvalid, PromptUnusable, RequestIdReused
from runs.store import pipelines as pipeline_store
from runs.wire import pipelines as wire

if TYPE_CHECKING:
    import asyncpg

    from dataplane.tenants import TenantPools
    from runs.domain.pipelines import PipelineVersion
    from servicekit.identity import Principal

COPY: dict[str, Any] = {"step": "copy", "function": {"function": "copy"}}
OUTLINE: dict[str, Any] = {
    "step": "outline",
    "llm": {"bindings": [{"variable": "topic", "output": {"step": "input"}}]},
}


@pytest.fixture
def prompts(tenants: TenantPools, ada: Principal) -> Prompts:
    return Prompts(tenants)


@pytest.fixture
def pipelines(tenants: TenantPools, ada: Principal) -> Pipelines:
    return Pipelines(tenants)


async def create(
    pipelines: Pipelines, request_id: str, *steps: dict[str, Any], pipeline: str = "article"
) -> PipelineVersion:
    spec = wire.pipeline_spec(ParseDict({"steps": list(steps)}, pipeline_pb2.PipelineSpec()))
    return await pipelines.create("acme", request_id, pipeline, spec)


async def test_versions_of_a_pipeline_count_up_from_one(pipelines: Pipelines) -> None:
    first = await create(pipelines, "r1", COPY)
    second = await create(pipelines, "r2", COPY, {**COPY, "step": "again"})
    other = await create(pipelines, "r3", COPY, pipeline="other")

    assert [each.version for each in (first, second, other)] == [1, 2, 1]
    assert first.digest == other.digest != second.digest


async def test_concurrent_creations_get_distinct_versions(pipelines: Pipelines) -> None:
    created = await asyncio.gather(*(create(pipelines, f"r{n}", COPY) for n in range(20)))

    assert sorted(each.version for each in created) == list(range(1, 21))


async def test_a_repeated_request_returns_the_first_version(pipelines: Pipelines) -> None:
    first = await create(pipelines, "r1", COPY)
    again = await asyncio.gather(*(create(pipelines, "r1", COPY) for _ in range(5)))

    assert again == [first] * 5


@pytest.mark.parametrize("other", [{"pipeline": "other"}, {"step": "other"}])
async def test_a_request_id_cannot_be_reused(pipelines: Pipelines, other: dict[str, str]) -> None:
    await create(pipelines, "r1", COPY)

    step = {**COPY, **({"step": other["step"]} if "step" in other else {})}
    with pytest.raises(RequestIdReused):
        await create(pipelines, "r1", step, pipeline=other.get("pipeline", "article"))


async def test_a_repeated_request_succeeds_although_a_prompt_has_changed_since(
    pipelines: Pipelines, prompts: Prompts
) -> None:
    await prompts.create("acme", "p1", "outline", "Outline {{topic}}.")
    await prompts.activate("acme", "outline", 1)
    first = await create(pipelines, "r1", OUTLINE)
    await prompts.create("acme", "p2", "outline", "Outline {{something}}.")
    await prompts.activate("acme", "outline", 2)

    assert await create(pipelines, "r1", OUTLINE) == first


async def test_a_pipeline_with_faults_stores_nothing(
    pipelines: Pipelines, database: asyncpg.Connection
) -> None:
    with pytest.raises(PipelineInvalid):
        await create(pipelines, "r1", {**COPY, "needs": ["copy"]})

    assert await database.fetchval("SELECT count(*) FROM pipelines") == 0


async def test_a_step_without_a_prompt_is_refused_and_stores_nothing(
    pipelines: Pipelines, database: asyncpg.Connection
) -> None:
    with pytest.raises(PromptUnusable, match="step outline has no active prompt") as refusal:
        await create(pipelines, "r1", OUTLINE)

    assert refusal.value.metadata == {"step": "outline", "variable": ""}
    assert await database.fetchval("SELECT count(*) FROM pipelines") == 0
    await chain(database)
    assert await database.fetchval("SELECT count(*) FROM audit_logs") == 0


async def test_a_prompt_that_exists_but_is_not_active_must_be_named(
    pipelines: Pipelines, prompts: Prompts
) -> None:
    await prompts.create("acme", "p1", "outline", "Outline {{topic}}.")
    with pytest.raises(PromptUnusable):
        await create(pipelines, "r1", OUTLINE)

    named = {**OUTLINE, "llm": {**OUTLINE["llm"], "prompt_version": 1}}
    assert (await create(pipelines, "r1", named)).version == 1


async def test_a_prompt_version_that_does_not_exist_is_refused(pipelines: Pipelines) -> None:
    named = {**OUTLINE, "llm": {**OUTLINE["llm"], "prompt_version": 7}}

    with pytest.raises(PromptUnusable, match="step outline has no version 7"):
        await create(pipelines, "r1", named)


async def test_variables_and_bindings_are_the_same_names(
    pipelines: Pipelines, prompts: Prompts
) -> None:
    await prompts.create("acme", "p1", "outline", "Outline {{subject}} in {{language}}.")
    await prompts.activate("acme", "outline", 1)

    with pytest.raises(PromptUnusable) as refusal:
        await create(pipelines, "r1", OUTLINE)
    assert refusal.value.message == (
        "step outline: prompt version 1 needs subject, which is not bound; "
        "step outline: prompt version 1 needs language, which is not bound; "
        "step outline: prompt version 1 has no variable topic, which is bound"
    )
    assert refusal.value.metadata == {"step": "outline", "variable": "subject"}


async def test_a_version_is_read_as_it_was_written(
    pipelines: Pipelines, tenants: TenantPools
) -> None:
    created = await create(pipelines, "r1", COPY)
    await create(pipelines, "r2", {**COPY, "step": "newer"})

    async with tenants.connection("acme") as connection:
        assert await pipeline_store.find(connection, "article", 1) == created
        newest = await pipeline_store.find(connection, "article", 0)
        assert await pipeline_store.find(connection, "article", 3) is None
    assert newest is not None
    assert newest.version == 2


async def test_all_versions_are_listed_by_pipeline_newest_first(
    pipelines: Pipelines, tenants: TenantPools
) -> None:
    for number, name in enumerate(("b", "a", "b", "a", "a")):
        await create(pipelines, f"r{number}", COPY, pipeline=name)

    found: list[tuple[str, int]] = []
    token = ""
    async with tenants.connection("acme") as connection:
        while not found or token:
            page = await pipeline_store.page(connection, "", 2, token)
            found += [(each.pipeline, each.version) for each in page.items]
            token = page.next_token
    assert found == [("a", 3), ("a", 2), ("a", 1), ("b", 2), ("b", 1)]
