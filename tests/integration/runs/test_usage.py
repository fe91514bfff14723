"""What a run has cost is what the ledger says, whatever became of the run. The ledger is played."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from temporalio.testing import ActivityEnvironment
from tests.support.runs_service import RunsService, make_due
from tests.support.webhooks import create, delivery

from interceptor.server import Context, bind
from interceptor.testing import serve
from nagaya.llm_gateway.v1 import call_pb2, call_service_pb2, call_service_pb2_grpc
from runs.api.app.webhooks import Webhooks
from runs.api.relay.reconciler import STALE_AFTER
from runs.domain.activities import RunEnd
from runs.domain.runs import Run, RunStatus
from runs.domain.webhooks import DeliveryState
from runs.worker.activities.runs import RunActivities
from servicekit.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import asyncpg
    import grpc
    from tests.support.webhook_receiver import Receiver

    from dataplane.tenants import ManagementPool, TenantPools
    from runs.api.launcher import Launcher
    from runs.api.relay.webhooks import WebhookRelay
    from servicekit.identity import Principal
    from servicekit.testing import Keys

USAGE = call_pb2.Usage(input_tokens=5, cache_read_tokens=2, output_tokens=30, reasoning_tokens=4)
STEP = {"step": "draft", "llm": {}}


class Ledger(call_service_pb2_grpc.CallServiceServicer):
    """Tells of every run that is asked for the same."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.open_calls = 0
        self.away = False

    async def SummarizeUsage(
        self, request: call_service_pb2.SummarizeUsageRequest, context: Context
    ) -> call_service_pb2.SummarizeUsageResponse:
        self.asked.append(list(request.run_ids))
        if self.away:
            raise Unavailable("the ledger is away")
        usages = [
            call_pb2.RunUsage(
                run_id=run_id, calls=2, open_calls=self.open_calls, usage=USAGE, cost_micro_usd=154
            )
            for run_id in request.run_ids
        ]
        return call_service_pb2.SummarizeUsageResponse(run_usages=usages)


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()  # pyright: ignore[reportAbstractUsage] - one of its methods is served


@pytest.fixture
async def gateway(keys: Keys, ledger: Ledger) -> AsyncGenerator[grpc.aio.Channel]:
    add = call_service_pb2_grpc.add_CallServiceServicer_to_server
    binding = bind(add, ledger, "nagaya.llm_gateway.v1.CallService")
    only = {"SummarizeUsage": binding.handlers["SummarizeUsage"]}
    async with serve(keys, replace(binding, handlers=only)) as server:
        yield server.workload_channel("runs")


@pytest.fixture
async def paid(
    tenants: TenantPools,
    management: ManagementPool,
    unreachable_launcher: Launcher,
    gateway: grpc.aio.Channel,
    ada: Principal,
) -> RunsService:
    """A service whose pipeline asks a model."""
    service = RunsService(tenants, management, unreachable_launcher, gateway)
    await service.prompts.create("acme", "p1", "draft", "Write.")
    await service.prompts.activate("acme", "draft", 1)
    await service.pipeline(STEP)
    return service


async def begun(service: RunsService) -> Run:
    run = await service.run()
    await service.begin(run.run_id)
    return run


async def end(service: RunsService, run: Run, status: str) -> Run:
    """End a run as its workflow does."""
    runs = RunActivities(
        service.data, service.journal, service.contexts, service.initializer, service.gateway
    )
    await ActivityEnvironment().run(runs.end_run, RunEnd("acme", run.run_id, 1, status))
    return await service.find(run.run_id)


async def visit(
    service: RunsService, database: asyncpg.Connection, registry: asyncpg.Connection, run: Run
) -> Run:
    """Have a relay visit the tenant, whatever is due by then."""
    await database.execute("UPDATE usage_checks SET due_at = now()")
    await make_due(database, registry)
    await service.relay(service.launcher, STALE_AFTER).poll()
    return await service.find(run.run_id)


@pytest.mark.parametrize("status", ["failed", "cancelled"])
async def test_a_run_that_did_not_complete_has_cost_what_its_calls_have(
    paid: RunsService, status: str
) -> None:
    totals = (await end(paid, await begun(paid), status)).totals

    assert (totals.input_tokens, totals.output_tokens) == (7, 34)
    assert (totals.cost_micro_usd, totals.calls_open) == (154, False)


async def test_calls_in_flight_at_the_end_are_added_once_they_have_landed(
    paid: RunsService, ledger: Ledger, database: asyncpg.Connection, registry: asyncpg.Connection
) -> None:
    ledger.open_calls = 1
    run = await end(paid, await begun(paid), "failed")
    assert run.totals.calls_open
    due = await registry.fetchval("SELECT due_at < now() + interval '2 s' FROM runs_pending_work")
    assert due

    assert (await visit(paid, database, registry, run)).totals.calls_open
    ledger.open_calls = 0
    landed = await visit(paid, database, registry, run)

    assert (landed.totals.cost_micro_usd, landed.totals.calls_open) == (154, False)
    assert landed.last_sequence == run.last_sequence + 1
    payload = await database.fetchval("SELECT payload FROM run_events ORDER BY seq DESC LIMIT 1")
    assert '"calls_open": false' in payload


async def test_webhooks_tell_the_totals_of_calls_that_landed_after_the_end(
    paid: RunsService,
    ledger: Ledger,
    database: asyncpg.Connection,
    registry: asyncpg.Connection,
    receiver: Receiver,
    webhook_relay: WebhookRelay,
) -> None:
    paid.secrets = webhook_relay._secrets
    paid.webhooks = Webhooks(paid.tenants, paid.webhook_scheduler, paid.secrets, paid.receivers)
    await create(paid, receiver.url, "run.failed")
    ledger.open_calls = 1
    run = await end(paid, await begun(paid), "failed")

    due = await webhook_relay.handle("acme")
    assert due is not None
    assert due >= 1
    assert await webhook_relay.handle("acme") == due  # all is sent: it waits, and claims nothing
    assert (await delivery(paid, run.run_id)).state is DeliveryState.PENDING
    ledger.open_calls = 0
    await database.execute("UPDATE runs SET ended_at = now() - interval '16 seconds'")
    await visit(paid, database, registry, run)

    assert await webhook_relay.handle("acme") is None
    sent = [message.content["data"]["run"]["totals"] for message in receiver.messages]
    assert [totals.get("callsOpen", False) for totals in sent] == [True, False]
    assert receiver.said == [(3, "run.failed"), (4, "run.failed")]
    assert (await delivery(paid, run.run_id)).state is DeliveryState.DELIVERED


async def test_a_run_is_looked_at_until_it_has_been_over_for_a_while(
    paid: RunsService, ledger: Ledger, database: asyncpg.Connection, registry: asyncpg.Connection
) -> None:
    run = await end(paid, await begun(paid), "cancelled")
    await visit(paid, database, registry, run)
    assert await database.fetchval("SELECT count(*) FROM usage_checks") == 1

    await database.execute("UPDATE runs SET ended_at = now() - interval '16 seconds'")
    await visit(paid, database, registry, run)
    assert await database.fetchval("SELECT count(*) FROM usage_checks") == 0
    asked = len(ledger.asked)
    await visit(paid, database, registry, run)
    assert len(ledger.asked) == asked


async def test_a_run_says_that_calls_are_open_while_the_ledger_is_away(
    paid: RunsService, ledger: Ledger, database: asyncpg.Connection, registry: asyncpg.Connection
) -> None:
    ledger.away = True
    run = await end(paid, await begun(paid), "failed")
    assert run.status is RunStatus.FAILED
    assert run.totals.calls_open
    assert (await visit(paid, database, registry, run)).totals.calls_open

    ledger.away = False
    landed = await visit(paid, database, registry, run)
    assert (landed.totals.cost_micro_usd, landed.totals.calls_open) == (154, False)


async def test_a_run_that_completed_is_looked_at_once_more_together_with_others(
    paid: RunsService, ledger: Ledger, database: asyncpg.Connection, registry: asyncpg.Connection
) -> None:
    runs = [await end(paid, await begun(paid), "completed") for _ in range(3)]
    assert ledger.asked == []
    assert not any(run.totals.calls_open for run in runs)

    await database.execute("UPDATE runs SET ended_at = now() - interval '16 seconds'")
    seen = await visit(paid, database, registry, runs[0])

    assert seen.totals.cost_micro_usd == 154
    assert [sorted(each) for each in ledger.asked] == [sorted(run.run_id for run in runs)]


async def test_a_run_that_asks_no_model_is_never_looked_at(
    paid: RunsService, ledger: Ledger, database: asyncpg.Connection
) -> None:
    await paid.pipeline()
    run = await end(paid, await begun(paid), "failed")

    assert not run.totals.calls_open
    assert ledger.asked == []
    assert await database.fetchval("SELECT count(*) FROM usage_checks") == 0
