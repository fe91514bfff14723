"""Whether steps get a model is known before a run is recorded; the llm-gateway tells it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.audit_log import chain
from tests.support.runs_client import RunsClient, reason

from nagaya.llm_gateway.v1 import model_pb2
from nagaya.runs.v1 import prompt_service_pb2, run_pb2
from runs.domain.inputs import input_path
from servicekit.errors import AlreadyExists, Conflict, InvalidInput, TenantNotActive

if TYPE_CHECKING:
    import asyncpg
    from tests.support.runs_peers import FakeArtifacts, FakeLlmGateway
    from tests.support.runs_service import RunsService

TABLES = ("runs", "run_events", "outbox")


class Unresolved(Conflict):
    reason = "ERROR_REASON_MODEL_UNRESOLVED"
    hint = "Set a default."

    def __init__(self) -> None:
        super().__init__("nothing says which model it uses")


class Incapable(InvalidInput):
    reason = "ERROR_REASON_CAPABILITY_MISSING"
    hint = "Choose another model."

    def __init__(self) -> None:
        super().__init__("the model small-1.5 lacks json_schema")


async def ready(client: RunsClient, *steps: str, **llm: Any) -> None:  # noqa: ANN401 - fields of LlmStep
    """Create a pipeline of llm steps, with the prompts that it needs."""
    for step in steps:
        await client.prompts.CreatePromptVersion(
            prompt_service_pb2.CreatePromptVersionRequest(
                tenant_id="acme", request_id=step, step=step, content="Write."
            )
        )
    spec = [{"step": step, "llm": {"prompt_version": 1, **llm}} for step in steps]
    await client.pipeline(*spec)


async def test_each_step_without_a_model_is_reported_and_nothing_is_left(
    client: RunsClient,
    models: FakeLlmGateway,
    database: asyncpg.Connection,
    registry: asyncpg.Connection,
) -> None:
    await ready(client, "outline", "draft", "polish")
    models.refusals = {"outline": Unresolved(), "polish": Incapable()}
    await chain(database)
    audited = await database.fetchval("SELECT count(*) FROM audit_logs")
    with pytest.raises(InvalidInput) as refusal:
        await client.run(inline=1)

    assert reason(refusal) == "MODEL_UNUSABLE"
    assert [(each.field, each.description) for each in refusal.value.violations] == [
        ('step_models["outline"]', "nothing says which model it uses"),
        ('step_models["polish"]', "the model small-1.5 lacks json_schema"),
    ]
    assert refusal.value.metadata == {"step": "outline", "gateway_reason": Unresolved.reason}
    assert [await database.fetchval(f"SELECT count(*) FROM {name}") for name in TABLES] == [0] * 3
    await chain(database)
    assert await database.fetchval("SELECT count(*) FROM audit_logs") == audited
    assert await registry.fetchval("SELECT count(*) FROM runs_pending_work") == 0


async def test_the_gateway_is_asked_for_what_the_step_will_ask(
    client: RunsClient, models: FakeLlmGateway
) -> None:
    own, chosen = {"model_id": "own-1"}, {"model_class": {"provider_id": "p", "model_class": "c"}}
    schema = {"type": "object"}
    await ready(client, "outline", model=own, output_schema=schema, max_output_tokens=77)
    await client.run(inline=1)
    await client.run(inline=1, step_models={"outline": chosen})

    plain, asked = models.asked
    assert (plain.tenant_id, plain.step, plain.model.model_id) == ("acme", "outline", "own-1")
    assert (plain.HasField("run_model"), asked.HasField("model")) == (False, False)
    assert asked.run_model.model_class == model_pb2.ModelClass(provider_id="p", model_class="c")
    for each in models.asked:
        assert (each.needs.json_schema, each.needs.max_output_tokens) == (True, 77)


async def test_a_step_that_asks_nothing_special_is_asked_for_so(
    client: RunsClient, models: FakeLlmGateway
) -> None:
    await ready(client, "outline")
    await client.run(inline=1)

    (asked,) = models.asked
    assert not asked.HasField("model")
    assert not asked.HasField("run_model")
    assert asked.HasField("needs")
    assert (asked.needs.json_schema, asked.needs.max_output_tokens) == (False, 0)


async def test_fifty_faulty_steps_are_all_counted_and_as_many_listed_as_a_status_holds(
    client: RunsClient, models: FakeLlmGateway
) -> None:
    steps = [f"step-{number:02}" for number in range(50)]
    await ready(client, *steps)
    models.refusals = {step: Unresolved() for step in steps}
    with pytest.raises(InvalidInput, match="and 49 more") as refusal:
        await client.run(inline=1)

    assert sorted(request.step for request in models.asked) == steps
    assert len(refusal.value.violations) > 40


async def test_a_pipeline_without_llm_steps_asks_nobody(
    client: RunsClient, models: FakeLlmGateway
) -> None:
    await client.pipeline()
    await client.run(inline=1)

    assert models.asked == []


async def test_a_gateway_that_is_silent_refuses_nothing(
    client: RunsClient, models: FakeLlmGateway
) -> None:
    await ready(client, "outline", "draft")
    models.answering.clear()
    async with asyncio.timeout(15):
        run = await client.run(inline=1)

    assert run.state == run_pb2.RUN_STATE_PENDING


async def test_a_gateway_that_is_away_refuses_nothing(service: RunsService) -> None:
    for step in ("outline", "draft"):
        await service.prompts.create("acme", step, step, "Write.")
    await service.pipeline(
        {"step": "outline", "llm": {"prompt_version": 1}},
        {"step": "draft", "llm": {"prompt_version": 1}},
    )
    async with asyncio.timeout(15):
        await service.run()


async def test_a_refusal_that_is_about_no_model_refuses_nothing(
    client: RunsClient, models: FakeLlmGateway
) -> None:
    await ready(client, "outline")
    models.refusals = {"outline": TenantNotActive("the tenant is suspended")}

    assert (await client.run(inline=1)).state == run_pb2.RUN_STATE_PENDING


async def test_a_repeated_request_returns_the_first_run_although_the_catalogue_has_changed(
    client: RunsClient, models: FakeLlmGateway
) -> None:
    await ready(client, "outline")
    first = await client.run("r1", inline=1)
    models.refusals = {"outline": Unresolved()}

    assert await client.run("r1", inline=1) == first
    with pytest.raises(AlreadyExists) as refusal:
        await client.run("r1", inline=2)
    assert reason(refusal) == "REQUEST_ID_REUSED"


async def test_a_held_run_that_gets_no_model_any_more_stays_held(
    client: RunsClient, models: FakeLlmGateway, files: FakeArtifacts
) -> None:
    await ready(client, "outline")
    choice = {"outline": {"model_id": "chosen-1"}}
    run = await client.run(hold=True, step_models=choice)
    files.files[input_path("storage/acme", run.run_id)] = "0" * 64
    models.refusals = {"outline": Incapable()}
    with pytest.raises(InvalidInput) as refusal:
        await client.start(run.run_id)
    assert reason(refusal) == "MODEL_UNUSABLE"
    assert await client.get(run.run_id) == run
    assert models.asked[-1].run_model.model_id == "chosen-1"

    models.refusals = {}
    assert not (await client.start(run.run_id)).held
