"""Every query of the dashboards, rules and alerts, on the metrics of a stack that works."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from bench.incidents import traffic
from bench.incidents.breakages import INCIDENTS, Target
from deploy.monitoring import queries
from docs.metric_tables import described
from tests.e2e.article import PIPELINE, brief, load_article
from tests.support import promql
from tests.support.public_api import create_run, create_tenant, finish
from tests.support.waiting import wait_until

from nagaya.runs.v1 import run_pb2
from nagaya_local.machine.ports import PortBook

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.stack import LocalStack

    from nagaya_client.client import Client

JOBS = ("tenant", "runs", "runs-worker", "artifacts", "llm-gateway")
PAUSE_SECONDS, WINDOW_SECONDS, ALERT_SECONDS = 1.0, 120, 10
READY = {"ready": True, "waits_for": []}
SLOW, LONG_MS = "ponderous", 5_000
ENOUGH = 12
"""Scrapes: in the time that they take each process has looked at whatever it looks at."""

OTHERS = {
    *("up", "ALERTS", "process_cpu_seconds_total", "process_resident_memory_bytes"),
    *("process_open_fds", *queries.recording_rules()),
}
"""Series that are not of our metrics: Prometheus' own, its client's, and those of rules."""

pytestmark = pytest.mark.timeout(600)  # the first build compiles Prometheus' engine


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return promql.build(tmp_path_factory.mktemp("promql"))


async def work(stack: LocalStack, client: Client, tenant_id: str) -> None:
    """Do a run to its end, and one of a step that takes so long that another activity goes on."""
    stack.stub.script(SLOW, {"kind": "delay", "delay_ms": LONG_MS})
    slow_id = await traffic.prepare(client, SLOW)
    slow = await create_run(client, slow_id, traffic.PIPELINE, traffic.QUESTION)
    run_id = await create_run(client, tenant_id, PIPELINE, brief())
    for where, run in ((tenant_id, run_id), (slow_id, slow)):
        assert (await finish(client, where, run)).state == run_pb2.RUN_STATE_COMPLETED


def scrapes_from(stack: LocalStack) -> promql.Scrapes:
    ports = PortBook(stack.layout.ports).known
    return promql.Scrapes({f"nagaya-{job}": ports[f"{job}-metrics"] for job in JOBS})


async def scrapes_of(stack: LocalStack, client: Client) -> promql.Scrapes:
    """Scrape all processes while the stack works, and some times after that.

    It has worked before: a series that nobody has seen yet has no rate.
    """
    tenant_id = await create_tenant(client, "watched")
    await load_article(client, tenant_id)
    await work(stack, client, tenant_id)
    scrapes = scrapes_from(stack)
    working, after = asyncio.create_task(work(stack, client, tenant_id)), 0
    while not working.done() or after < ENOUGH:
        await asyncio.to_thread(scrapes.take)
        await asyncio.sleep(PAUSE_SECONDS)
        after += working.done()
    await working
    return scrapes


@pytest.mark.parametrize("job", JOBS)
async def test_a_process_tells_that_it_lives_and_is_ready(stack: LocalStack, job: str) -> None:
    port = PortBook(stack.layout.ports).known[f"{job}-metrics"]

    async def ready() -> bool:  # a worker is soon after its start, once Temporal has seen it
        return await asyncio.to_thread(promql.get, port, "/readyz") == READY

    await wait_until(ready)
    assert promql.get(port, "/healthz")["alive"]


@pytest.mark.parametrize("name", ["provider down", "tenant's database away"])
async def test_an_alert_is_true_while_something_is_broken_and_not_afterwards(
    engine: Path, stack: LocalStack, client: Client, name: str
) -> None:
    (incident,) = (one for one in INCIDENTS if one.name == name)
    scrapes, tenant_id = scrapes_from(stack), await traffic.prepare(client)
    expressions = [queries.alerts()[alert]["expr"] for alert in sorted(incident.alerts)]
    asked = [queries.faster(expression, ALERT_SECONDS) for expression in expressions]

    async def true() -> bool:
        await asyncio.to_thread(scrapes.take)
        scrapes.forget_older_than(2 * ALERT_SECONDS)
        _, _, answers = await asyncio.to_thread(promql.ask, engine, scrapes, asked)
        assert not any(answer.error for answer in answers)
        return all(answer.series for answer in answers)

    async def false() -> bool:
        return not await true()

    async with traffic.runs(client, tenant_id):
        async with incident.broken(Target(stack, client, tenant_id)):
            await wait_until(true, seconds=60, pause=1)
        await wait_until(false, seconds=90, pause=1)


async def test_panels_show_data_and_alerts_are_about_metrics_that_there_are(
    engine: Path, stack: LocalStack, client: Client
) -> None:
    panels, alerts = list(queries.panel_queries()), queries.alerts()
    expressions = [one.expression for one in panels] + [one["expr"] for one in alerts.values()]
    faster = [queries.faster(expression, WINDOW_SECONDS) for expression in expressions]
    recorded = {
        name: queries.faster(expression, WINDOW_SECONDS)
        for name, expression in queries.recording_rules().items()
    }
    scrapes = await scrapes_of(stack, client)

    problems, _, answers = await asyncio.to_thread(
        promql.ask, engine, scrapes, faster, rule_files=queries.RULE_FILES, rules=recorded
    )

    places = [one.place for one in panels] + list(alerts)
    exported = {name for metrics in described().values() for one in metrics for name in one.series}
    wrong = {place: answer.error for place, answer in zip(places, answers, strict=True)}
    unknown = {
        place: sorted(answer.metrics - exported - OTHERS)
        for place, answer in zip(places, answers, strict=True)
    }
    empty = [
        f"{one.place}: {one.expression}"
        for one, answer in zip(panels, answers, strict=False)
        if not answer.series and not one.may_be_empty
    ]
    assert problems == []
    assert {place: error for place, error in wrong.items() if error} == {}
    assert {place: names for place, names in unknown.items() if names} == {}
    assert not empty, "\n".join(empty)
