"""One article for one customer, judged by the disk, the database and the stub's own log."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from temporalio.client import Client as Temporal
from tests.e2e.article import PIPELINE, brief, load_article
from tests.support.public_api import create_run, create_tenant, finish, list_steps

from nagaya.llm_gateway.v1 import call_pb2, call_service_pb2
from nagaya.runs.v1 import run_pb2, run_service_pb2
from runs.auditor import audit
from runs.temporal.client import data_converter

if TYPE_CHECKING:
    from tests.support.stack import LocalStack

    from nagaya_client.client import Client


@dataclass(frozen=True)
class Finished:
    """A run that has completed; its canary was planted in brief and prompts."""

    tenant_id: str
    run_id: str
    canary: str
    sections: int


@pytest.fixture(scope="module")
def finished(stack: LocalStack) -> Finished:
    return asyncio.run(_finish_one(stack))


async def _finish_one(stack: LocalStack) -> Finished:
    canary = f"canary-{secrets.token_hex(8)}"
    async with stack.client() as client:
        tenant_id = await create_tenant(client, "article")
        await load_article(client, tenant_id, remark=f"\n<!-- {canary} -->\n")
        value = brief() | {"brief": f"{brief()['brief']} {canary}"}
        run_id = await create_run(client, tenant_id, PIPELINE, value)
        run = await finish(client, tenant_id, run_id)
        assert run.state == run_pb2.RUN_STATE_COMPLETED, run.error
        steps = await list_steps(client, tenant_id, run_id)
    sections = sum(step.step == "draft" and step.item > 0 for step in steps)
    assert sections >= 3
    return Finished(tenant_id, run_id, canary, sections)


async def test_every_file_of_a_run_lies_where_it_belongs_and_is_what_its_row_says(
    stack: LocalStack, client: Client, finished: Finished
) -> None:
    tenant_id, run_id = finished.tenant_id, finished.run_id
    database = await stack.database(client, tenant_id)
    rows = await database.fetch("SELECT file_path, digest FROM artifacts")
    await database.close()

    recorded = {row["file_path"]: row["digest"] for row in rows}
    folder = stack.file(f"storage/{tenant_id}")
    on_disk = {
        f"storage/{tenant_id}/{path.relative_to(folder)}": hashlib.sha256(
            path.read_bytes()
        ).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }
    assert on_disk == recorded
    for step in ("input", "outline", "research", "draft", "review", "polish"):
        assert f"storage/{tenant_id}/{run_id}/{step}/output.json" in recorded
    for item in range(1, finished.sections + 1):
        assert f"storage/{tenant_id}/{run_id}/draft/artifacts/{item}-1/output.json" in recorded


async def test_each_output_of_a_model_is_what_its_reply_says(
    stack: LocalStack, client: Client, finished: Finished
) -> None:
    tenant_id, run_id = finished.tenant_id, finished.run_id
    request = call_service_pb2.ListCallsRequest(tenant_id=tenant_id, run_id=run_id, page_size=200)
    calls = (await client.calls.ListCalls(request)).calls

    for call in calls:
        reply = await client.reply(tenant_id, call.key)
        assert hashlib.sha256(reply).hexdigest() == call.output_digest
        name = f"artifacts/{call.key.item}-1/output.json" if call.key.item else "output.json"
        output = stack.file(f"storage/{tenant_id}/{run_id}/{call.key.step}/{name}")
        assert json.loads(output.read_bytes()) == json.loads(reply)["content"]
    assert len(calls) == 1 + 2 * finished.sections + 2


async def test_each_call_was_paid_once_and_the_ledger_says_what_the_provider_says(
    stack: LocalStack, client: Client, finished: Finished
) -> None:
    tenant_id, run_id = finished.tenant_id, finished.run_id
    request = call_service_pb2.ListCallsRequest(tenant_id=tenant_id, run_id=run_id, page_size=200)
    calls = (await client.calls.ListCalls(request)).calls

    assert len(calls) == 1 + 2 * finished.sections + 2
    assert {call.state for call in calls} == {call_pb2.CALL_STATE_SETTLED}
    assert all(len(call.attempts) == 1 for call in calls)
    assert all(call.cost_micro_usd > 0 for call in calls)
    run = (
        await client.runs.GetRun(run_service_pb2.GetRunRequest(tenant_id=tenant_id, run_id=run_id))
    ).run
    assert run.totals.cost_micro_usd == sum(call.cost_micro_usd for call in calls)


async def test_no_body_is_in_a_history_or_a_log_line(stack: LocalStack, finished: Finished) -> None:
    canary = finished.canary
    temporal = await Temporal.connect(stack.endpoints.temporal, data_converter=data_converter())
    findings, histories = await audit(temporal, [canary])

    assert histories > 0
    assert findings == ()
    logs = sorted((stack.layout.data / "logs").glob("*.log"))
    assert [log.name for log in logs if canary.encode() in log.read_bytes()] == []
    assert canary.encode() not in (stack.layout.llmstub / "calls.jsonl").read_bytes()


async def test_events_count_up_without_a_gap_and_a_watch_can_begin_anywhere(
    client: Client, finished: Finished
) -> None:
    tenant_id, run_id = finished.tenant_id, finished.run_id
    sequences = [event.sequence async for event in client.watch_run(tenant_id, run_id)]
    later = [event.sequence async for event in client.watch_run(tenant_id, run_id, 5)]

    assert sequences == list(range(1, len(sequences) + 1))
    assert later == sequences[5:]


async def test_steps_tell_their_model_its_rule_their_prompt_and_their_cost(
    client: Client, finished: Finished
) -> None:
    tenant_id, run_id = finished.tenant_id, finished.run_id
    steps = await list_steps(client, tenant_id, run_id)

    assert {step.state for step in steps} == {run_pb2.STEP_STATE_COMPLETED}
    asked = [step for step in steps if step.llm_model]
    assert len(asked) == 1 + 2 * finished.sections + 2
    assert {step.model_rule for step in asked} == {"STEP_DEFAULT"}
    assert all(step.prompt_version == 1 and len(step.prompt_digest) == 64 for step in asked)
    assert all(step.output_tokens > 0 and step.cost_micro_usd > 0 for step in asked)
    review = next(step for step in steps if step.step == "review")
    assert 1 <= review.output.metrics["score"] <= 10
