"""Forks: what is taken over costs nothing, what is done again is paid once, and every run's folder
is complete; judged by the provider's requests, the ledger, the database and the disk.
"""

from __future__ import annotations

import json
import os
import secrets
import uuid
from typing import TYPE_CHECKING

import pytest
from tests.e2e.article import brief, load_article
from tests.e2e.invoices import (
    CHECK,
    COUNT,
    EXTRACT,
    POLISH,
    REVIEW,
    check_files,
    files_of,
    fork,
    invoices,
    make_tenant,
    steps_of,
)
from tests.support.public_api import create_pipeline, create_prompt, create_run, finish

from nagaya.runs.v1 import run_pb2, run_service_pb2
from nagaya_client.errors import ApiError

if TYPE_CHECKING:
    from tests.support.stack import LocalStack

    from nagaya_client.client import Client

ELEMENTS = int(os.environ.get("FORK_ELEMENTS", "12"))
COMPLETED, DONE = run_pb2.RUN_STATE_COMPLETED, run_pb2.STEP_STATE_COMPLETED


@pytest.fixture
async def tenant_id(client: Client) -> str:
    return await make_tenant(client)


async def test_a_fork_from_a_step_pays_for_that_step_and_those_behind_it(
    stack: LocalStack, client: Client, tenant_id: str
) -> None:
    run_id = await create_run(
        client, tenant_id, "invoices", invoices(ELEMENTS, secrets.token_hex(6))
    )
    source = await finish(client, tenant_id, run_id)
    assert source.state == COMPLETED, source.error
    await create_prompt(client, tenant_id, "review", "Review strictly: {{all}}.")

    run = await fork(client, tenant_id, run_id, promptVersions={"review": 2})

    assert run.state == COMPLETED, run.error
    assert stack.requests_of(run.run_id) == 2
    steps = await steps_of(client, tenant_id, run.run_id)
    anew = {name for (name, _), step in steps.items() if not step.reused and step.cost_micro_usd}
    assert anew == {"review", "polish"}
    assert steps["review", 0].prompt_version == 2
    elements = [step for (_, item), step in steps.items() if item]
    assert len(elements) == 2 * ELEMENTS
    assert all(step.reused and step.cost_micro_usd == 0 for step in elements)
    paid = sum(step.cost_micro_usd for step in steps.values())
    assert run.totals.cost_micro_usd == paid > 0
    assert run.totals.completed_steps == source.totals.completed_steps
    await check_files(stack, client, tenant_id, run, source)


async def test_a_fork_of_a_failed_run_pays_for_the_elements_that_are_missing(
    stack: LocalStack, client: Client, tenant_id: str
) -> None:
    mark, refused = secrets.token_hex(6), f"refused-{secrets.token_hex(6)}"
    given = invoices(ELEMENTS, mark)
    given["invoices"] = [*given["invoices"][:-1], refused]
    stack.stub.script(refused, {"kind": "status", "status": 400}, times=1)
    source = await finish(client, tenant_id, await create_run(client, tenant_id, "invoices", given))
    assert source.state == run_pb2.RUN_STATE_FAILED
    done = await steps_of(client, tenant_id, source.run_id)
    kept = {key for key, step in done.items() if key[1] and step.state == DONE}

    run = await fork(client, tenant_id, source.run_id)

    assert run.state == COMPLETED, run.error
    steps = await steps_of(client, tenant_id, run.run_id)
    assert {key for key, step in steps.items() if step.reused} == kept
    assert stack.requests_of(run.run_id) == 2 * ELEMENTS - len(kept) + 2


async def test_another_input_pays_for_the_elements_that_are_new(
    stack: LocalStack, client: Client, tenant_id: str
) -> None:
    given = invoices(ELEMENTS, secrets.token_hex(6))
    source = await finish(client, tenant_id, await create_run(client, tenant_id, "invoices", given))
    first, *others = given["invoices"]
    changed = {**given, "invoices": [*others, "a new one", first], "note": "of no step"}

    run = await fork(client, tenant_id, source.run_id, inline=changed)

    assert run.state == COMPLETED, run.error
    assert stack.requests_of(run.run_id) == 2 + 2
    old, new = [await files_of(client, tenant_id, each.run_id) for each in (source, run)]
    for step in ("extract", "check"):
        moved = {2: 1, ELEMENTS: ELEMENTS - 1, 1: ELEMENTS + 1}
        for before, after in moved.items():
            name = "artifacts/{}-1/output.json"
            assert new[step, name.format(after)] == old[step, name.format(before)]


async def test_elements_are_done_again_and_what_is_behind_them(
    stack: LocalStack, client: Client, tenant_id: str
) -> None:
    given = invoices(ELEMENTS, secrets.token_hex(6))
    source = await finish(client, tenant_id, await create_run(client, tenant_id, "invoices", given))

    run = await fork(client, tenant_id, source.run_id, fromStep="extract", items=[2, 5])

    assert run.state == COMPLETED, run.error
    assert stack.requests_of(run.run_id) == 2 * 2 + 2
    steps = await steps_of(client, tenant_id, run.run_id)
    anew = {key for key, step in steps.items() if key[1] and not step.reused}
    assert anew == {(step, item) for step in ("extract", "check") for item in (2, 5)}


async def test_a_fork_of_a_fork_is_whole_and_a_repeated_request_is_one_fork(
    stack: LocalStack, client: Client, tenant_id: str
) -> None:
    given = invoices(2, secrets.token_hex(6))
    source = await finish(client, tenant_id, await create_run(client, tenant_id, "invoices", given))
    first = await fork(client, tenant_id, source.run_id, fromStep="polish", requestId="once")
    again = await fork(client, tenant_id, source.run_id, fromStep="polish", requestId="once")
    assert again.run_id == first.run_id

    second = await fork(client, tenant_id, first.run_id, fromStep="polish")

    assert second.state == COMPLETED, second.error
    assert stack.requests_of(second.run_id) == 1
    await check_files(stack, client, tenant_id, second, first)
    with pytest.raises(ApiError) as refusal:
        await fork(client, tenant_id, source.run_id, fromStep="review", requestId="once")
    assert refusal.value.reason == "ERROR_REASON_REQUEST_ID_REUSED"


async def test_a_fork_with_another_pipeline_version_does_the_changed_steps_again(
    stack: LocalStack, client: Client, tenant_id: str
) -> None:
    given = invoices(2, secrets.token_hex(6))
    source = await finish(client, tenant_id, await create_run(client, tenant_id, "invoices", given))
    calm = {**POLISH, "timeout": "300s", "retry": {"maxAttempts": 5}}
    again = json.loads(json.dumps(REVIEW))
    again["llm"]["maxOutputTokens"] = 40
    await create_pipeline(
        client, tenant_id, "invoices", {"steps": [EXTRACT, CHECK, COUNT, again, calm]}
    )

    run = await fork(client, tenant_id, source.run_id, pipelineVersion=2)

    assert (run.state, run.pipeline_version) == (COMPLETED, 2), run.error
    assert stack.requests_of(run.run_id) == 2


NOBODY = "0192f0c1-2345-7000-8000-000000000001"
REFUSALS: list[tuple[dict[str, object], str, str]] = [
    ({"fromStep": "extrakt"}, "REQUEST_INVALID", "did you mean extract"),
    ({"items": [1]}, "REQUEST_INVALID", "from_step"),
    ({"fromStep": "review", "items": [1]}, "REQUEST_INVALID", "not mapped"),
    ({"fromStep": "extract", "items": [1, 9]}, "REQUEST_INVALID", "extract has 1"),
    ({}, "REQUEST_INVALID", "nothing would be done again"),
    ({"promptVersions": {"count": 1}}, "REQUEST_INVALID", "no llm step"),
    ({"promptVersions": {"review": 9}}, "PROMPT_UNUSABLE", "no version 9"),
    ({"stepModels": {"review": {"modelId": "nobody-9"}}}, "MODEL_UNUSABLE", "review"),
    ({"pipelineVersion": 7}, "PIPELINE_NOT_FOUND", "version 7"),
    ({"runId": NOBODY}, "RUN_NOT_FOUND", "no run"),
]


async def test_a_fork_that_makes_no_sense_is_refused_and_creates_nothing(
    client: Client, tenant_id: str
) -> None:
    run_id = await create_run(client, tenant_id, "invoices", invoices(1, "one"))
    await finish(client, tenant_id, run_id)
    for fields, reason, words in REFUSALS:
        with pytest.raises(ApiError) as refusal:
            await fork(client, tenant_id, run_id, **fields)
        assert refusal.value.reason == f"ERROR_REASON_{reason}"
        assert words in str(refusal.value)

    listed = run_service_pb2.ListRunsRequest(tenant_id=tenant_id)
    assert len((await client.runs.ListRuns(listed)).runs) == 1


async def test_elements_of_a_list_that_is_made_anew_may_be_beyond_the_end_of_the_old_one(
    client: Client, tenant_id: str
) -> None:
    await load_article(client, tenant_id)
    source = await finish(
        client, tenant_id, await create_run(client, tenant_id, "article", brief())
    )
    assert source.state == COMPLETED, source.error
    steps = await steps_of(client, tenant_id, source.run_id)
    beyond = 1 + max(item for step, item in steps if step == "research")
    first = {"fromStep": "research", "items": [beyond]}
    other = {"modelId": "gpt-6.2-sol"}
    with pytest.raises(ApiError) as refusal:
        await fork(client, tenant_id, source.run_id, **first, stepModels={"research": other})
    assert f"research has {beyond - 1}" in str(refusal.value)

    run = await fork(client, tenant_id, source.run_id, **first, stepModels={"outline": other})
    assert run.state == COMPLETED, run.error


async def test_a_run_that_has_no_input_yet_cannot_be_forked(client: Client, tenant_id: str) -> None:
    held = run_service_pb2.CreateRunRequest(
        tenant_id=tenant_id, request_id=uuid.uuid4().hex, pipeline="invoices", hold=True
    )
    run_id = (await client.runs.CreateRun(held)).run.run_id
    with pytest.raises(ApiError) as refusal:
        await fork(client, tenant_id, run_id, fromStep="review")
    assert refusal.value.reason == "ERROR_REASON_RUN_NOT_BEGUN"


async def test_a_fork_chooses_the_model_of_a_step_also_where_the_pipeline_names_one(
    stack: LocalStack, client: Client, tenant_id: str
) -> None:
    given = invoices(1, secrets.token_hex(6))
    source = await finish(client, tenant_id, await create_run(client, tenant_id, "invoices", given))

    other = {"polish": {"modelId": "gpt-6.2-sol"}}
    run = await fork(client, tenant_id, source.run_id, stepModels=other)

    assert run.state == COMPLETED, run.error
    assert stack.requests_of(run.run_id) == 1
    old, new = [await steps_of(client, tenant_id, each.run_id) for each in (source, run)]
    assert old["polish", 0].llm_model == "claude/claude-sonnet-5-5"
    assert new["polish", 0].llm_model == "openai/gpt-6.2-sol"
