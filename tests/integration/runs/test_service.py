"""The service on a real socket, called with generated stubs; its peer answers on one too."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from google.protobuf.json_format import MessageToDict
from tests.support.runs_client import RunsClient, reason
from tests.support.runs_service import INPUT_FILE

from nagaya.runs.v1 import pipeline_service_pb2, prompt_service_pb2, run_pb2, run_service_pb2
from runs.domain.activities import StepRef
from runs.domain.generation import CallUsage, TokenUsage
from runs.domain.runs import OutputFile
from runs.domain.transitions import StepOutcome, Transitions
from runs.store import journal
from servicekit.errors import AlreadyExists, Forbidden, InvalidInput, NotFound

if TYPE_CHECKING:
    import asyncpg

    from dataplane.tenants import TenantPools
    from interceptor.testing import RunningServer

NO_RUN = "00000000-0000-0000-0000-000000000000"


async def test_a_run_is_created_and_read_over_the_wire(client: RunsClient) -> None:
    await client.pipeline()
    created = await client.run(inline={"topic": "cranes"}, config={"note": 1})
    found = await client.get(created.run_id.upper())

    assert found == created
    assert found.state == run_pb2.RUN_STATE_PENDING
    assert (found.user_id, found.last_sequence) == ("ada", 1)
    assert MessageToDict(found.config) == {"note": 1}
    assert not found.HasField("input")


async def test_a_pipeline_is_created_and_read_over_the_wire(client: RunsClient) -> None:
    steps = [
        {"step": "plan", "function": {"function": "plan.it", "arguments": {"parts": 3}}},
        {
            "step": "write",
            "needs": ["plan"],
            "function": {"function": "write"},
            "map": {"step": "plan", "json_pointer": "/parts"},
            "when": "plan.parts > 1",
        },
    ]
    created = await client.pipeline(*steps, request_id="r1")
    assert await client.pipeline(*steps, request_id="r1") == created
    assert (created.version, len(created.digest)) == (1, 64)
    assert created.plan_size_bytes == len(
        b'[["plan",[],{"f":1}],["write",[0],{"f":1,"m":[0,"/parts"],"w":1}]]'
    )

    request = pipeline_service_pb2.GetPipelineVersionRequest(tenant_id="acme", pipeline="article")
    assert (await client.pipelines.GetPipelineVersion(request)).pipeline_version == created
    validating = pipeline_service_pb2.ValidatePipelineRequest(tenant_id="acme", spec=created.spec)
    size = (await client.pipelines.ValidatePipeline(validating)).plan_size_bytes
    assert size == created.plan_size_bytes
    listing = pipeline_service_pb2.ListPipelineVersionsRequest(tenant_id="acme")
    listed = (await client.pipelines.ListPipelineVersions(listing)).pipeline_versions
    assert list(listed) == [created]


async def test_the_faults_of_a_pipeline_arrive_with_their_fields(client: RunsClient) -> None:
    with pytest.raises(InvalidInput) as refusal:
        await client.pipeline(
            {"step": "a", "needs": ["b"], "function": {"function": "copy"}},
            {"step": "b", "needs": ["a", "x"], "function": {"function": "copy"}},
        )

    assert reason(refusal) == "PIPELINE_INVALID"
    assert [each.field for each in refusal.value.violations] == [
        "spec.steps[1].needs[0]",
        "spec.steps[1].needs[1]",
    ]


async def test_each_text_that_cannot_be_stored_is_named_as_the_caller_wrote_it(
    client: RunsClient,
) -> None:
    await client.pipeline()
    with pytest.raises(InvalidInput) as refusal:
        await client.run(
            request_id="r\0",
            inline={"title": "a\0", "chapters": [1, "b", {"\0": None}], "whole": "c"},
            config={"note": "\0"},
        )

    assert reason(refusal) == "REQUEST_INVALID"
    assert {each.field for each in refusal.value.violations} == {
        "request_id",
        'inline["title"]',
        'inline["chapters"][2]["\\u0000"]',
        'config["note"]',
    }
    assert refusal.value.message.startswith("request_id: holds U+0000, which cannot be stored.")
    assert not (await client.runs.ListRuns(run_service_pb2.ListRunsRequest(tenant_id="acme"))).runs


async def test_each_number_that_json_does_not_have_is_named(client: RunsClient) -> None:
    await client.pipeline()
    request = run_service_pb2.CreateRunRequest(
        tenant_id="acme", request_id="r1", pipeline="article"
    )
    request.inline.list_value.values.add().number_value = 1.5
    request.inline.list_value.values.add().number_value = math.inf
    request.config["temperature"] = math.nan
    with pytest.raises(InvalidInput) as refusal:
        await client.runs.CreateRun(request)

    assert reason(refusal) == "REQUEST_INVALID"
    assert {each.field for each in refusal.value.violations} == {
        "inline[1]",
        'config["temperature"]',
    }


async def test_prompts_are_created_activated_and_listed_over_the_wire(client: RunsClient) -> None:
    for n in (1, 2, 3):
        await client.prompts.CreatePromptVersion(
            prompt_service_pb2.CreatePromptVersionRequest(
                tenant_id="acme", request_id=f"r{n}", step="outline", content=f"Take {n} {{{{x}}}}"
            )
        )
    activating = prompt_service_pb2.ActivatePromptVersionRequest(
        tenant_id="acme", step="outline", version=2
    )
    activated = (await client.prompts.ActivatePromptVersion(activating)).prompt_version
    assert activated.active
    assert list(activated.variables) == ["x"]

    listing = prompt_service_pb2.ListPromptVersionsRequest(
        tenant_id="acme", step="outline", page_size=2
    )
    first = await client.prompts.ListPromptVersions(listing)
    listing.page_token = first.next_page_token
    second = await client.prompts.ListPromptVersions(listing)
    pages = [*first.prompt_versions, *second.prompt_versions]
    assert [each.version for each in pages] == [3, 2, 1]
    assert second.next_page_token == ""

    missing = prompt_service_pb2.GetPromptVersionRequest(
        tenant_id="acme", step="outline", version=9
    )
    with pytest.raises(NotFound) as refusal:
        await client.prompts.GetPromptVersion(missing)
    assert reason(refusal) == "PROMPT_VERSION_NOT_FOUND"


async def test_a_watch_ends_with_the_run_and_says_that_it_is_alive(client: RunsClient) -> None:
    await client.pipeline()
    run = await client.run(inline=1, config={"note": 1})
    request = run_service_pb2.WatchRunRequest(tenant_id="acme", run_id=run.run_id)
    parts: list[run_service_pb2.WatchRunResponse] = []
    async for part in client.runs.WatchRun(request):
        parts.append(part)
        if len(parts) == 2:
            await client.cancel(run.run_id)

    kinds = [part.WhichOneof("part") for part in parts]
    assert kinds == ["event", *["heartbeat_sequence"] * (len(parts) - 2), "event"]
    assert len(parts) > 2
    assert parts[0].event.run == run
    assert parts[-1].event.run == await client.get(run.run_id)


async def test_the_steps_of_a_run_are_listed_in_the_order_in_which_they_began(
    client: RunsClient, tenants: TenantPools
) -> None:
    await client.pipeline()
    run = await client.run(inline=1)
    output = OutputFile("storage/x", "0" * 64, "", {"characters": 9})
    usage = CallUsage("openai/gpt-5", "rule", TokenUsage(5, 7, 0, 0, 0), 11)
    work = StepRef("acme", run.run_id, 1, "copy")
    async with tenants.connection("acme") as connection:
        await journal.advance(connection, work.run, [Transitions(input=INPUT_FILE)])
        for item in (2, 1, 3):
            whole = ((replace(work, item=item), StepOutcome(output, usage)),)
            (advanced,) = await journal.advance(connection, work.run, [Transitions(whole=whole)])
            assert advanced.whole == (True,)
        await journal.advance(connection, work.run, [Transitions(completes_run=True)])

    request = run_service_pb2.ListRunStepsRequest(tenant_id="acme", run_id=run.run_id, page_size=2)
    first = await client.runs.ListRunSteps(request)
    request.page_token = first.next_page_token
    second = await client.runs.ListRunSteps(request)
    steps = [*first.run_steps, *second.run_steps]
    assert [step.item for step in steps] == [2, 1, 3]
    assert (steps[0].input_tokens, steps[0].output.metrics["characters"]) == (5, 9)

    watching = run_service_pb2.WatchRunRequest(tenant_id="acme", run_id=run.run_id)
    events = [part.event async for part in client.runs.WatchRun(watching)]
    assert [event.step for event in events[2:5]] == steps
    ended = await client.get(run.run_id)
    assert (ended.totals.input_tokens, ended.totals.output_tokens) == (15, 21)
    assert (ended.totals.cost_micro_usd, ended.totals.completed_steps) == (33, 3)
    assert ended.current_step == "copy"


@pytest.mark.parametrize("method", ["GetRun", "StartRun", "CancelRun", "ListRunSteps"])
async def test_a_run_that_does_not_exist_is_not_found(client: RunsClient, method: str) -> None:
    message = getattr(run_service_pb2, f"{method}Request")(tenant_id="acme", run_id=NO_RUN)

    with pytest.raises(NotFound) as refusal:
        await getattr(client.runs, method)(message)
    assert reason(refusal) == "RUN_NOT_FOUND"


async def test_a_run_that_does_not_exist_is_not_watched(client: RunsClient) -> None:
    request = run_service_pb2.WatchRunRequest(tenant_id="acme", run_id=NO_RUN)

    with pytest.raises(NotFound) as refusal:
        [part async for part in client.runs.WatchRun(request)]
    assert reason(refusal) == "RUN_NOT_FOUND"


async def test_a_request_id_with_other_content_is_refused(client: RunsClient) -> None:
    await client.pipeline()
    await client.run("r1", inline=1)

    with pytest.raises(AlreadyExists) as refusal:
        await client.run("r1", inline=2)
    assert (reason(refusal), refusal.value.metadata) == ("REQUEST_ID_REUSED", {"request_id": "r1"})


async def test_runs_are_listed_by_pages_over_the_wire(client: RunsClient) -> None:
    await client.pipeline()
    made = [await client.run(inline=n) for n in range(3)]
    request = run_service_pb2.ListRunsRequest(
        tenant_id="acme", state=run_pb2.RUN_STATE_PENDING, page_size=2
    )
    first = await client.runs.ListRuns(request)
    request.page_token = first.next_page_token
    second = await client.runs.ListRuns(request)

    assert [*first.runs, *second.runs] == made[::-1]
    assert second.next_page_token == ""


async def test_a_token_of_another_tenant_is_refused(server: RunningServer) -> None:
    stranger = RunsClient(server.channel(user_id="eve", tenants=["globex"]))

    with pytest.raises(Forbidden):
        await stranger.run(inline=1)


async def test_a_token_without_the_permission_is_refused(server: RunningServer) -> None:
    reader = RunsClient(server.channel(scope="runs.read", tenants=["acme"]))

    with pytest.raises(Forbidden):
        await reader.run(inline=1)


async def test_a_tenant_that_does_not_exist_leaves_nothing_to_be_polled(
    client: RunsClient, registry: asyncpg.Connection
) -> None:
    asked = run_service_pb2.CreateRunRequest(
        tenant_id="nobody", request_id="r1", pipeline="article", hold=True
    )
    with pytest.raises(Forbidden):
        await client.runs.CreateRun(asked)

    noted = "SELECT count(*) FROM runs_pending_work WHERE tenant_id = 'nobody'"
    assert await registry.fetchval(noted) == 0
