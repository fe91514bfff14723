"""Who may decide what a run asks, once, on a real database and over a real socket."""

from __future__ import annotations

import asyncio
import os
import secrets
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import pytest
from tests.support.runs_client import RunsClient, reason
from tests.support.runs_service import make_due
from tests.support.waiting import wait_until

from nagaya.runs.v1 import approval_pb2, approval_service_pb2
from runs.domain.activities import Walked
from runs.domain.runs import RunStatus
from servicekit.errors import DomainError

if TYPE_CHECKING:
    import asyncpg
    from tests.support.runs_worker import RunsWorker

    from interceptor.testing import RunningServer

APPROVE = approval_pb2.APPROVAL_DECISION_APPROVE
REJECT = approval_pb2.APPROVAL_DECISION_REJECT
DECISIONS = int(os.environ.get("TEST_DECISIONS", "200"))


async def ask(worker: RunsWorker, **approval: object) -> str:
    """Have a run ask; return the question's id."""
    step = {"step": "sign-off", "approval": {"question": "May it go out?", **approval}}
    work = await worker.begin(step)
    await walk(worker)
    return f"{work.run_id}/sign-off/1"


async def walk(worker: RunsWorker, epoch: int = 1) -> Walked:
    return await worker.walk_approval("sign-off", epoch=epoch)


async def decide(
    client: RunsClient,
    approval_id: str,
    decision: approval_pb2.ApprovalDecision.ValueType = APPROVE,
    request_id: str = "",
    comment: str = "",
) -> approval_pb2.Approval:
    request = approval_service_pb2.DecideApprovalRequest(
        tenant_id="acme",
        request_id=request_id or secrets.token_hex(8),
        approval_id=approval_id,
        decision=decision,
        comment=comment,
    )
    return (await client.approvals.DecideApproval(request)).approval


async def refused(client: RunsClient, approval_id: str, **more: str) -> str:
    with pytest.raises(DomainError) as refusal:
        await decide(client, approval_id, **more)  # pyright: ignore[reportArgumentType]
    return reason(refusal)


async def test_of_many_decisions_at_once_one_counts(
    worker: RunsWorker, client: RunsClient, database: asyncpg.Connection
) -> None:
    approval_id = await ask(worker)
    at_once = asyncio.Semaphore(50)

    async def one(number: int) -> str:
        async with at_once:
            try:
                decided = await decide(client, approval_id, (APPROVE, REJECT)[number % 2])
            except DomainError as error:
                return error.reason.removeprefix("ERROR_REASON_")
            return approval_pb2.ApprovalState.Name(decided.state)

    outcomes = await asyncio.gather(*map(one, range(DECISIONS)))

    assert outcomes.count("APPROVAL_DECIDED") == DECISIONS - 1
    (won,) = [each for each in outcomes if each != "APPROVAL_DECIDED"]
    state = await database.fetchval("SELECT state FROM approvals")
    assert won == f"APPROVAL_STATE_{state.upper()}"
    messages = "SELECT count(*) FROM outbox WHERE kind = 'decision'"
    assert await database.fetchval(messages) == 0, "the workflow has been told"


@pytest.mark.parametrize(
    ("approval", "user_id", "scope", "may"),
    [
        ({}, "ada", ["approvals.decide"], True),
        ({"user_ids": ["dana"]}, "dana", ["approvals.*"], True),
        ({"user_ids": ["dana"]}, "eve", ["approvals.decide"], False),
        ({"permissions": ["letters.send"]}, "eve", ["approvals.decide", "letters.*"], True),
        ({"permissions": ["letters.send"]}, "eve", ["approvals.decide"], False),
        ({"user_ids": ["dana"], "permissions": ["a.b"]}, "eve", ["*"], True),
        ({"excludes_creator": True}, "ada", ["*"], False),
        ({"excludes_creator": True, "user_ids": ["eve"]}, "eve", ["approvals.decide"], True),
    ],
)
async def test_the_step_says_who_may_decide(
    worker: RunsWorker,
    server: RunningServer,
    approval: dict[str, object],
    user_id: str,
    scope: list[str],
    *,
    may: bool,
) -> None:
    approval_id = await ask(worker, **approval)
    channel = server.channel(
        user_id=user_id, tenants=["acme"], scope=" ".join([*scope, "approvals.read"])
    )
    client = RunsClient(channel)
    request = approval_service_pb2.ListApprovalsRequest(tenant_id="acme", mine=True)
    mine = (await client.approvals.ListApprovals(request)).approvals

    assert len(mine) == may
    if may:
        decided = await decide(client, approval_id)
        assert (decided.state, decided.user_id) == (approval_pb2.APPROVAL_STATE_APPROVED, user_id)
    else:
        assert await refused(client, approval_id) == "APPROVER_NOT_ALLOWED"
        request.mine = False
        (still,) = (await client.approvals.ListApprovals(request)).approvals
        assert still.state == approval_pb2.APPROVAL_STATE_OPEN


async def test_a_decision_that_is_repeated_gets_the_same_answer(
    worker: RunsWorker, client: RunsClient
) -> None:
    approval_id = await ask(worker)
    first = await decide(client, approval_id, REJECT, "r1", "not yet")

    assert await decide(client, approval_id, REJECT, "r1", "not yet") == first
    assert await refused(client, approval_id, request_id="r1") == "REQUEST_ID_REUSED"
    assert await refused(client, approval_id) == "APPROVAL_DECIDED"
    assert await refused(client, f"{approval_id}/2") == "APPROVAL_NOT_FOUND"


async def test_a_decision_after_the_time_is_refused_before_anything_has_noticed(
    worker: RunsWorker, client: RunsClient, database: asyncpg.Connection
) -> None:
    approval_id = await ask(worker, timeout="3600s", comment_required=True)
    assert await refused(client, approval_id) == "COMMENT_MISSING"
    assert (await walk(worker)).wait_ms > 3_500_000
    await database.execute("UPDATE approvals SET due_at = clock_timestamp()")

    assert await refused(client, approval_id, comment="late") == "APPROVAL_EXPIRED"
    assert await database.fetchval("SELECT state FROM approvals") == "open"


async def test_the_end_of_a_run_closes_its_question(worker: RunsWorker, client: RunsClient) -> None:
    approval_id = await ask(worker)
    await worker.finish(RunStatus.CANCELLED)

    assert await refused(client, approval_id) == "APPROVAL_CLOSED"


async def test_a_later_epoch_waits_for_the_same_question_and_takes_its_answer(
    worker: RunsWorker, client: RunsClient, database: asyncpg.Connection
) -> None:
    approval_id = await ask(worker, timeout="3600s", on_reject="REJECTION_POLICY_CONTINUE")
    due = await database.fetchval("SELECT due_at FROM approvals")
    await database.execute("UPDATE runs SET epoch = 2")
    assert (await walk(worker, epoch=2)).waiting
    await database.execute("UPDATE runs SET epoch = 3")
    await decide(client, approval_id, REJECT, comment="no")

    assert await walk(worker, epoch=3) == Walked()
    assert await database.fetch("SELECT due_at, state FROM approvals") == [(due, "rejected")]
    row = await database.fetchrow("SELECT status, values FROM steps")
    assert row is not None
    assert row["status"] == "completed"
    assert '"decision": "rejected"' in row["values"]
    numbers = await database.fetch("SELECT seq FROM run_events ORDER BY seq")
    assert [number["seq"] for number in numbers] == list(range(1, len(numbers) + 1))


async def test_a_relay_tells_the_run_of_a_decision_that_was_left_to_it(
    worker: RunsWorker,
    client: RunsClient,
    database: asyncpg.Connection,
    registry: asyncpg.Connection,
) -> None:
    approval_id = await ask(worker)
    await decide(client, approval_id)
    assert await database.fetchval("SELECT count(*) FROM outbox WHERE kind = 'decision'") == 0

    await database.execute("INSERT INTO outbox (run_id, kind) SELECT id, 'decision' FROM runs")
    await make_due(database, registry)
    relay = worker.service.relay(worker.service.launcher, timedelta(minutes=2))
    relay.start()
    try:
        await wait_until(partial(_delivered, database))
    finally:
        await relay.stop()


async def _delivered(database: asyncpg.Connection) -> bool:
    return not await database.fetchval("SELECT count(*) FROM outbox WHERE kind = 'decision'")
