"""LangGraph graphs as pipelines: their nodes are steps of the run, their state holds no body."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import DEVNULL
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from temporalio.client import Client as Temporal
from tests.e2e.test_approvals import asked, decide
from tests.support.public_api import (
    create_pipeline,
    create_prompt,
    create_run,
    create_tenant,
    finish,
    list_steps,
)

from nagaya.runs.v1 import run_pb2, run_service_pb2
from nagaya_client.errors import ApiError
from runs.auditor import examine
from runs.temporal.client import data_converter

if TYPE_CHECKING:
    from tests.support.stack import LocalStack

    from nagaya_client.client import Client

MODEL = {"model": {"model_id": "claude-sonnet-5-5"}, "max_output_tokens": 100}
PROMPTS = {"plan": "plan {{topic}}", "critic": "criticize {{found}}", "decide": "round {{round}}"}


def research(log: Path, **arguments: object) -> dict[str, Any]:
    """Return a pipeline: a plan, tools in parallel, a critic that goes round, a person."""
    usual = {"log": str(log), "seconds": 0.2, "tools": 3, "rounds": 2, "asks": False}
    steps: list[dict[str, Any]] = [{"step": node, "llm": MODEL} for node in PROMPTS]
    steps.append({"step": "publish", "approval": {"question": "Publish it?"}})
    return {"graph": {"graph": "test.research", "arguments": usual | arguments}, "steps": steps}


@pytest.fixture
async def tenant_id(client: Client) -> str:
    tenant_id = await create_tenant(client, "graphs")
    for step, content in PROMPTS.items():
        await create_prompt(client, tenant_id, step, content)
    return tenant_id


async def test_a_graphs_nodes_are_steps_with_items_and_visits_and_paid_once(
    stack: LocalStack, client: Client, tenant_id: str, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    await create_pipeline(client, tenant_id, "research", research(log))
    run_id = await create_run(client, tenant_id, "research", {"topic": "CANARY-" * 40})
    run = await finish(client, tenant_id, run_id)

    assert run.state == run_pb2.RUN_STATE_COMPLETED, run.error
    steps = await list_steps(client, tenant_id, run_id)
    assert sorted((step.step, step.item, step.visit) for step in steps) == sorted(
        [
            *(("plan", 0, 1), ("again", 0, 1), ("decide", 0, 1), ("write", 0, 1)),
            *(("critic", 0, visit) for visit in (1, 2)),
            *(("tool", item, visit) for visit in (1, 2) for item in (1, 2, 3)),
        ]
    )
    assert {step.state for step in steps} == {run_pb2.STEP_STATE_COMPLETED}
    assert stack.requests_of(run_id) == 4
    asked = [step for step in steps if step.step in PROMPTS]
    assert all(step.cost_micro_usd and step.prompt_version == 1 for step in asked)
    assert run.totals.cost_micro_usd == sum(step.cost_micro_usd for step in steps)
    folder = stack.file(f"storage/{tenant_id}/{run_id}")
    text = json.loads((folder / "write" / "artifacts" / "0-1" / "text.json").read_text())
    assert [found["number"] for found in text[1]] == [1, 2, 3, 1, 2, 3]
    history = (
        await (await _temporal(stack)).get_workflow_handle(f"{tenant_id}/{run_id}").fetch_history()
    )
    assert list(examine(history)) == []
    assert "CANARY-CANARY" not in history.to_json()


async def test_a_node_that_interrupts_waits_for_a_person_and_pays_for_nothing_twice(
    stack: LocalStack, client: Client, tenant_id: str, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    await create_pipeline(client, tenant_id, "research", research(log, asks=True, rounds=1))
    run_id = await create_run(client, tenant_id, "research", {"topic": "cranes"})
    approval = await asked(client, tenant_id, run_id)
    paid = stack.requests_of(run_id)
    await decide(client, tenant_id, approval.approval_id)
    run = await finish(client, tenant_id, run_id)

    assert run.state == run_pb2.RUN_STATE_COMPLETED, run.error
    assert (approval.step, approval.visit, approval.question) == ("publish", 1, "Publish it?")
    assert (paid, stack.requests_of(run_id)) == (3, 3)
    (text,) = stack.file(f"storage/{tenant_id}/{run_id}").glob("write/artifacts/*/text.json")
    assert json.loads(text.read_text())[0] == "approved"
    began = [json.loads(line)["step"] for line in log.read_text().splitlines()]
    assert began.count("decide") == 2, "before the answer, and with it"
    steps = await list_steps(client, tenant_id, run_id)
    assert [step.retry_count for step in steps if step.step == "decide"] == [0]


@pytest.mark.parametrize(
    ("graph", "reason", "words"),
    [
        ("test.bloated", "STATE_TOO_LARGE", "field approved "),
        ("test.growing", "STATE_TOO_LARGE", "field found "),
        ("test.raising", "INTERNAL", "internal error"),
        ("test.astray", "GRAPH_FAILED", "bad_route"),
        ("test.endless", "GRAPH_TOO_LONG", "5 supersteps"),
        ("test.interrupting", "APPROVAL_UNUSABLE", "node only calls interrupt"),
        ("test.unlisted", "NODE_WITHOUT_MODEL", "node only asks a model"),
    ],
)
async def test_what_a_graph_may_not_do_fails_its_run_without_a_body(
    client: Client, tenant_id: str, graph: str, reason: str, words: str
) -> None:
    retry = {"maxAttempts": 1}
    steps = [] if graph == "test.growing" else [{"step": "only", "node": {}, "retry": retry}]
    spec = {"graph": {"graph": graph, "recursion_limit": 5}, "steps": steps}
    await create_pipeline(client, tenant_id, "broken", spec)
    run = await finish(client, tenant_id, await create_run(client, tenant_id, "broken", None))

    assert (run.state, run.error.reason) == (run_pb2.RUN_STATE_FAILED, reason)
    assert words in run.error.message
    assert "secret" not in run.error.message
    assert "a body" not in run.error.message


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"graph": {"graph": "test.reserach"}}, "no graph test.reserach"),
        (
            {"graph": {"graph": "test.research"}, "steps": [{"step": "critik", "node": {}}]},
            "no node critik",
        ),
        ({"steps": [{"step": "a", "function": {"function": "test.douple"}}]}, "test.douple"),
        (
            {"task_queue": "nobody", "steps": [{"step": "a", "function": {"function": "collect"}}]},
            "task queue nobody",
        ),
    ],
)
async def test_a_name_that_is_misspelt_costs_nothing_and_tells_of_no_other(
    client: Client, tenant_id: str, spec: dict[str, Any], words: str
) -> None:
    await create_pipeline(client, tenant_id, "misspelt", spec)
    with pytest.raises(ApiError) as refused:
        await create_run(client, tenant_id, "misspelt", None)

    assert refused.value.reason == "ERROR_REASON_NOT_INSTALLED"
    assert words in str(refused.value)
    assert "test.double" not in str(refused.value)
    assert "installed_" not in str(refused.value)
    listed = await client.runs.ListRuns(run_service_pb2.ListRunsRequest(tenant_id=tenant_id))
    assert not listed.runs


async def _temporal(stack: LocalStack) -> Temporal:
    return await Temporal.connect(stack.endpoints.temporal, data_converter=data_converter())


async def test_a_pipeline_with_a_task_queue_is_done_by_its_own_workers_only(
    stack: LocalStack, client: Client, tenant_id: str
) -> None:
    environment = _environment(stack)
    environment |= {"NAGAYA_PIPELINE_QUEUE": "own", "NAGAYA_WORKER_TENANTS": tenant_id}
    spec = {"task_queue": "own", "graph": {"graph": "test.quick"}}
    await create_pipeline(client, tenant_id, "own", spec)
    other = await create_tenant(client, "other")
    await create_pipeline(client, other, "own", spec)
    worker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "runs.worker"), env=environment, stdout=DEVNULL, stderr=DEVNULL
    )
    try:
        run = await _when_installed(client, tenant_id)
        with pytest.raises(ApiError) as refused:
            await create_run(client, other, "own", None)
    finally:
        worker.terminate()
        await worker.wait()

    assert run.state == run_pb2.RUN_STATE_COMPLETED, run.error
    assert refused.value.reason == "ERROR_REASON_NOT_INSTALLED"
    temporal = await _temporal(stack)
    described = await temporal.get_workflow_handle(f"{tenant_id}/{run.run_id}").describe()
    assert (described.task_queue or "").endswith("/own")


def _environment(stack: LocalStack) -> dict[str, str]:
    """Return the settings of the stack's worker, for another one beside it."""
    common = json.loads(stack.layout.pids.read_text())["runs-worker"]
    settings = Path(f"/proc/{common}/environ").read_bytes().decode().split("\0")
    found = dict(each.split("=", 1) for each in settings if "=" in each)
    del found["NAGAYA_METRICS_PORT"]
    return found


async def _when_installed(client: Client, tenant_id: str) -> run_pb2.Run:
    """Start a run once a worker has recorded what it has, and watch it to its end."""
    async with asyncio.timeout(60):
        while True:
            try:
                run_id = await create_run(client, tenant_id, "own", None)
            except ApiError:
                await asyncio.sleep(0.2)
            else:
                return await finish(client, tenant_id, run_id)
