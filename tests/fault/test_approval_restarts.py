"""An approval is waited for over kill -9 of every process, and over a stack that was down."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.e2e.test_approvals import ask, asked, decide
from tests.e2e.test_maps import function
from tests.fault.test_kills import kill, wait_until_reachable
from tests.support.public_api import create_pipeline, create_run, create_tenant, finish, list_steps

from nagaya.runs.v1 import approval_pb2, run_pb2
from nagaya_client.errors import ApiError
from nagaya_local.commands import down, up

if TYPE_CHECKING:
    from tests.support.stack import LocalStack

REJECT = approval_pb2.APPROVAL_DECISION_REJECT


@pytest.mark.timeout(300)
async def test_a_question_outlives_the_death_of_everything_and_is_answered_once(
    stack: LocalStack,
) -> None:
    async with stack.client() as client:
        tenant_id = await create_tenant(client, "ask")
        judge = ask("judge", "input", approval={"timeout": "3600s"})
        await create_pipeline(
            client, tenant_id, "judged", {"steps": [judge, function("after", "collect", "judge")]}
        )
        run_id = await create_run(client, tenant_id, "judged", None)
        question = await asked(client, tenant_id, run_id)
        for name in ("runs-worker", "runs", "temporal", "postgres"):
            await kill(stack, name)
        await wait_until_reachable(client, tenant_id)
    await down(stack.layout, lambda _: None)
    await up(stack.layout, lambda _: None)

    async with stack.client() as client, asyncio.timeout(120):
        assert await asked(client, tenant_id, run_id) == question
        await decide(client, tenant_id, question.approval_id)
        await kill(stack, "runs-worker")
        with pytest.raises(ApiError) as second:
            await decide(client, tenant_id, question.approval_id, REJECT)
        run = await finish(client, tenant_id, run_id)
        steps = await list_steps(client, tenant_id, run_id)

    assert second.value.reason == "ERROR_REASON_APPROVAL_DECIDED"
    assert run.state == run_pb2.RUN_STATE_COMPLETED, run.error
    assert [(step.step, step.visit) for step in steps] == [("judge", 1), ("after", 1)]
