"""Approvals: a run waits for a person, and goes on with the decision."""

from __future__ import annotations

import asyncio
import json
import uuid
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest
from tests.e2e.shell import Shell, open_shell
from tests.e2e.test_loops import repeat
from tests.e2e.test_maps import function
from tests.support.public_api import (
    create_pipeline,
    create_run,
    create_tenant,
    finish,
    list_steps,
)

from nagaya.runs.v1 import approval_pb2, approval_service_pb2, run_pb2, run_service_pb2
from nagaya_client.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.stack import LocalStack

    from nagaya_client.client import Client

EXAMPLE = Path(__file__).parents[2] / "examples" / "approval"
APPROVE = approval_pb2.APPROVAL_DECISION_APPROVE
REJECT = approval_pb2.APPROVAL_DECISION_REJECT
CONTINUE = "REJECTION_POLICY_CONTINUE"


def ask(
    step: str, *needs: str, approval: Mapping[str, object] = MappingProxyType({})
) -> dict[str, Any]:
    return {"step": step, "needs": list(needs), "approval": {"question": "Good?", **approval}}


async def asked(client: Client, tenant_id: str, run_id: str) -> approval_pb2.Approval:
    """Watch a run until it asks; return the question."""
    async for event in client.watch_run(tenant_id, run_id):
        if event.step.state == run_pb2.STEP_STATE_WAITING:
            break
    request = approval_service_pb2.ListApprovalsRequest(
        tenant_id=tenant_id, run_id=run_id, state=approval_pb2.APPROVAL_STATE_OPEN
    )
    (approval,) = (await client.approvals.ListApprovals(request)).approvals
    return approval


async def decide(
    client: Client,
    tenant_id: str,
    approval_id: str,
    decision: approval_pb2.ApprovalDecision.ValueType = APPROVE,
    **more: str,
) -> approval_pb2.Approval:
    request = approval_service_pb2.DecideApprovalRequest(
        tenant_id=tenant_id,
        request_id=more.pop("request_id", "") or uuid.uuid4().hex,
        approval_id=approval_id,
        decision=decision,
        **more,
    )
    return (await client.approvals.DecideApproval(request)).approval


@pytest.mark.timeout(300)  # twelve commands one after another, on a machine that may be busy
@pytest.mark.parametrize(("decision", "does"), [("approve", "publish"), ("reject", "archive")])
def test_the_example_waits_for_a_person_who_decides_by_command(
    stack: LocalStack, decision: str, does: str
) -> None:
    shell = open_shell(stack)
    prompt = EXAMPLE / "prompts" / "announce.md"
    given = str(EXAMPLE / "input.json")
    assert (
        shell.run("prompt", "create", "announce", "--file", str(prompt), "--activate").status == 0
    )
    made = shell.run("pipeline", "create", str(EXAMPLE / "pipeline.yaml"))
    assert made.status == 0, made.err
    model = ("--model", "announce=claude-sonnet-5-5")
    started = shell.run("run", "start", "approved", "--input", given, *model, "-o", "json")
    assert started.status == 0, started.err
    run_id = json.loads(started.out)["run"]["runId"]
    approval_id = f"{run_id}/sign-off/1"
    _wait_until_asked(shell, run_id)

    shown = json.loads(shell.run("approval", "get", approval_id, "-o", "json").out)["approval"]
    assert shown["subjects"][0]["path"].endswith(f"{run_id}/announce/output.json")
    assert shell.run("approval", decision, approval_id).status == 2, "it needs a comment"
    decided = shell.run("approval", decision, approval_id, "--comment", "so be it")
    assert decided.status == 0, decided.err
    again = shell.run("approval", decision, approval_id, "--comment", "so be it")
    assert again.status == 5
    assert "reason: ERROR_REASON_APPROVAL_DECIDED\n" in again.err

    watched = shell.run("run", "watch", run_id)
    assert watched.status == 0, watched.err
    states = {
        line["step"]["step"]: line["step"]["state"] for line in watched.lines if "step" in line
    }
    assert states[does] == "STEP_STATE_COMPLETED"
    assert states[{"publish": "archive", "archive": "publish"}[does]] == "STEP_STATE_SKIPPED"
    answer = json.loads(
        stack.file(f"storage/{shell.tenant}/{run_id}/sign-off/output.json").read_text()
    )
    assert (answer["decision"], answer["comment"]) == (
        f"{decision}ed".replace("ee", "e"),
        "so be it",
    )


def _wait_until_asked(shell: Shell, run_id: str) -> None:
    for _ in range(60):
        listed = shell.run("approval", "list", "--run", run_id, "--mine", "-o", "jsonl")
        assert listed.status == 0, listed.err
        if listed.lines:
            return
    raise AssertionError("nobody was asked")


async def test_a_loop_goes_on_until_a_person_approves(stack: LocalStack, client: Client) -> None:
    tenant_id = await create_tenant(client, "ask")
    write = function("write", "test.visits", "input")
    write["function"] |= {"previous_visits": ["judge"]}
    judge = ask("judge", "write", approval={"on_reject": CONTINUE, "subjects": [{"step": "write"}]})
    judge["repeat"] = repeat("write", "!judge.approved", 5)
    after = function("after", "collect", "write", "judge")
    await create_pipeline(client, tenant_id, "judged", {"steps": [write, judge, after]})
    run_id = await create_run(client, tenant_id, "judged", None)
    for visit, decision in enumerate((REJECT, REJECT, APPROVE), 1):
        approval = await _asked_in_visit(client, tenant_id, run_id, visit)
        assert approval.subjects[0].path.endswith(f"/write/artifacts/0-{visit}/output.json")
        await decide(client, tenant_id, approval.approval_id, decision, comment=f"no {visit}")
    run = await finish(client, tenant_id, run_id)

    assert run.state == run_pb2.RUN_STATE_COMPLETED, run.error
    collected = json.loads(
        stack.file(f"storage/{tenant_id}/{run_id}/after/output.json").read_text()
    )
    assert collected["write"]["visit"] == 3
    assert collected["write"]["read"]["judge"]["comment"] == "no 2"
    assert collected["judge"]["approved"] is True
    with pytest.raises(ApiError) as late:
        await decide(client, tenant_id, f"{run_id}/judge/2")
    assert late.value.reason == "ERROR_REASON_APPROVAL_DECIDED"


async def _asked_in_visit(
    client: Client, tenant_id: str, run_id: str, visit: int
) -> approval_pb2.Approval:
    asked_now = ("judge", run_pb2.STEP_STATE_WAITING, visit)
    async for event in client.watch_run(tenant_id, run_id):
        if (event.step.step, event.step.state, event.step.visit) == asked_now:
            break
    request = approval_service_pb2.GetApprovalRequest(
        tenant_id=tenant_id, approval_id=f"{run_id}/judge/{visit}"
    )
    return (await client.approvals.GetApproval(request)).approval


@pytest.mark.parametrize(
    ("approval", "decision", "ends"),
    [
        ({}, REJECT, "APPROVAL_REJECTED"),
        ({"timeout": "1s"}, None, "APPROVAL_EXPIRED"),
        (
            {"timeout": "1s", "on_timeout": "APPROVAL_TIMEOUT_POLICY_REJECT"},
            None,
            "APPROVAL_REJECTED",
        ),
        ({"timeout": "1s", "on_timeout": "APPROVAL_TIMEOUT_POLICY_APPROVE"}, None, ""),
        ({"timeout": "3600s", "on_timeout": "APPROVAL_TIMEOUT_POLICY_REJECT"}, APPROVE, ""),
    ],
)
async def test_a_rejection_or_nobody_in_time_ends_the_run_as_its_pipeline_says(
    client: Client,
    approval: dict[str, str],
    decision: approval_pb2.ApprovalDecision.ValueType | None,
    ends: str,
) -> None:
    tenant_id = await create_tenant(client, "ask")
    steps = [ask("judge", "input", approval=approval), function("after", "collect", "judge")]
    await create_pipeline(client, tenant_id, "judged", {"steps": steps})
    run_id = await create_run(client, tenant_id, "judged", None)
    if decision is not None:
        question = await asked(client, tenant_id, run_id)
        await decide(client, tenant_id, question.approval_id, decision)
    run = await finish(client, tenant_id, run_id)

    expected = run_pb2.RUN_STATE_FAILED if ends else run_pb2.RUN_STATE_COMPLETED
    assert (run.state, run.error.reason, run.error.step) == (
        expected,
        ends,
        "judge" if ends else "",
    )
    if decision is None:
        with pytest.raises(ApiError) as late:
            await decide(client, tenant_id, f"{run_id}/judge/1")
        assert late.value.reason == "ERROR_REASON_APPROVAL_EXPIRED"


@pytest.mark.parametrize("decided", ["while it is paused", "afterwards"])
async def test_a_run_that_waits_is_paused_and_keeps_its_question(
    client: Client, decided: str
) -> None:
    tenant_id = await create_tenant(client, "ask")
    steps = [ask("judge", "input"), function("after", "collect", "judge")]
    await create_pipeline(client, tenant_id, "judged", {"steps": steps})
    run_id = await create_run(client, tenant_id, "judged", None)
    question = await asked(client, tenant_id, run_id)
    await client.runs.PauseRun(run_service_pb2.PauseRunRequest(tenant_id=tenant_id, run_id=run_id))
    async with asyncio.timeout(30):
        async for event in client.watch_run(tenant_id, run_id):
            if event.run.state == run_pb2.RUN_STATE_PAUSED:
                break
    if decided == "while it is paused":
        await decide(client, tenant_id, question.approval_id)
    resume = run_service_pb2.ResumeRunRequest(tenant_id=tenant_id, run_id=run_id)
    await client.runs.ResumeRun(resume)
    if decided == "afterwards":
        await decide(client, tenant_id, question.approval_id)
    async with asyncio.timeout(30):
        run = await finish(client, tenant_id, run_id)

    assert run.state == run_pb2.RUN_STATE_COMPLETED, run.error
    rows = [(step.step, step.retry_count) for step in await list_steps(client, tenant_id, run_id)]
    assert rows == [("judge", 0), ("after", 0)]


async def test_a_retry_asks_again_and_a_late_answer_is_not_for_the_new_question(
    client: Client,
) -> None:
    tenant_id = await create_tenant(client, "ask")
    steps = [ask("judge", "input"), function("after", "collect", "judge")]
    await create_pipeline(client, tenant_id, "judged", {"steps": steps})
    run_id = await create_run(client, tenant_id, "judged", None)
    first = await asked(client, tenant_id, run_id)
    await decide(client, tenant_id, first.approval_id, REJECT)
    assert (await finish(client, tenant_id, run_id)).error.reason == "APPROVAL_REJECTED"
    retry = run_service_pb2.RetryRunRequest(tenant_id=tenant_id, run_id=run_id, request_id="again")
    before = (await client.runs.RetryRun(retry)).run.last_sequence
    async with asyncio.timeout(30):
        async for event in client.watch_run(tenant_id, run_id, before):
            if event.step.state == run_pb2.STEP_STATE_WAITING:
                break
    with pytest.raises(ApiError) as late:
        await decide(client, tenant_id, first.approval_id)
    await decide(client, tenant_id, f"{first.approval_id}/2")
    async with asyncio.timeout(30):
        run = await finish(client, tenant_id, run_id)

    assert late.value.reason == "ERROR_REASON_APPROVAL_DECIDED"
    assert run.state == run_pb2.RUN_STATE_COMPLETED, run.error


async def test_a_cancelled_run_asks_nobody_any_more(client: Client) -> None:
    tenant_id = await create_tenant(client, "ask")
    steps = [ask("judge", "input"), ask("second", "input"), function("after", "collect", "judge")]
    await create_pipeline(client, tenant_id, "judged", {"steps": steps})
    run_id = await create_run(client, tenant_id, "judged", None)
    await _asked_in_visit(client, tenant_id, run_id, 1)
    await client.runs.CancelRun(
        run_service_pb2.CancelRunRequest(tenant_id=tenant_id, run_id=run_id)
    )
    async with asyncio.timeout(60):
        run = await finish(client, tenant_id, run_id)

    assert run.state == run_pb2.RUN_STATE_CANCELLED
    states = {step.state for step in await list_steps(client, tenant_id, run_id)}
    assert states == {run_pb2.STEP_STATE_CANCELLED}
    with pytest.raises(ApiError) as late:
        await decide(client, tenant_id, f"{run_id}/judge/1")
    assert late.value.reason == "ERROR_REASON_APPROVAL_CLOSED"
