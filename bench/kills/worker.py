"""The worker's kill run: runs of every kind, their workers killed and frozen, Temporal too.

Judged from outside: by what functions recorded themselves, by the provider's own log, by the rows
and events of the tenant's database, and by the bytes in the object store.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING

import asyncpg
from tests.support.catalog import provider
from tests.support.public_api import (
    create_pipeline,
    create_prompt,
    create_run,
    create_tenant,
    finish,
)
from tests.support.stack import running_stack

from bench.kills import audit_chain
from bench.kills.chaos import Chaos
from bench.kills.ledger import judge_costs, judge_payments, read_provider_log
from bench.kills.logs import judge_logs
from bench.kills.pipelines import PROMPTS, TURNS, pipelines
from bench.kills.provider_process import ProviderProcess
from bench.kills.questions import name_of
from bench.kills.steps import judge_executions, judge_files, judge_rows, read_executions
from bench.kills.verdicts import Verdicts
from bench.kills.workers import running_workers
from nagaya.llm_gateway.v1 import call_pb2, call_service_pb2, catalog_service_pb2, model_pb2
from nagaya_client.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.stack import LocalStack

    from bench.kills.chaos import Harm
    from bench.kills.ledger import Sent
    from bench.kills.workers import Workers
    from nagaya_client.client import Client

RUNS = 80
_AT_ONCE = 16
_HARMS = {
    "workers killed": 16,
    "workers frozen": 2,
    "Temporal killed": 2,
    "artifacts killed": 3,
}
"""How often, for so many runs."""
_RUN_SECONDS = 300.0
_BROKEN_RUN_SECONDS = 40.0
"""With a worker that records nothing, many runs have no end."""
_LOGS = ("runs", "runs-worker", "artifacts", "llm-gateway")


def run(count: int, seed: int, folder: Path, *, broken: bool = False) -> int:
    """Return how many promises were broken; everything lies in a folder.

    With `broken` one of the workers records nothing: then promises have to be found broken.
    """
    with running_stack(folder) as stack:
        return asyncio.run(WorkerRun(stack, folder, count, seed, broken=broken).run())


class WorkerRun:
    """One run: many runs of pipelines, what is done to the processes, and the judgement."""

    def __init__(
        self, stack: LocalStack, folder: Path, count: int, seed: int, *, broken: bool
    ) -> None:
        self._stack = stack
        self._folder = folder
        self._count = count
        self._seed = seed
        self._worker = "bench.kills.broken_worker" if broken else "runs.worker"
        self._run_seconds = _BROKEN_RUN_SECONDS if broken else _RUN_SECONDS
        self._began = time.monotonic()
        self._verdicts = Verdicts()
        self._functions_log = folder / "functions.jsonl"
        self._done = 0
        self._not_ended: list[str] = []
        self._twice_running: set[tuple[object, ...]] = set()

    async def run(self) -> int:
        counting = ProviderProcess(self._folder)
        await asyncio.to_thread(counting.start)
        try:
            async with (
                self._stack.client() as client,
                running_workers(self._stack, self._folder, self._worker) as workers,
            ):
                tenant_id = await self._prepare(client, counting.url)
                await self._do_runs(client, tenant_id, workers)
                sent = read_provider_log(counting.requests)
                await self._judge(client, tenant_id, workers.woke, sent)
        finally:
            await asyncio.to_thread(counting.stop)
        layout = self._stack.layout
        logs = [*map(layout.log, _LOGS), self._folder / "own-worker.log"]
        judge_logs(self._verdicts, logs, layout.log("postgres"))
        print(self._verdicts.table(f"worker, seed {self._seed}"), flush=True)
        return self._verdicts.violations

    async def _prepare(self, client: Client, provider_url: str) -> str:
        each = provider("claude", provider_url, model_pb2.WIRE_FORMAT_CLAUDE_MESSAGES)
        await client.catalog.SetProvider(catalog_service_pb2.SetProviderRequest(provider=each))
        tenant_id = await create_tenant(client, "kills")
        for step, content in PROMPTS.items():
            await create_prompt(client, tenant_id, step, content)
        for name, spec in pipelines(self._functions_log).items():
            await create_pipeline(client, tenant_id, name, spec)
        return tenant_id

    async def _do_runs(self, client: Client, tenant_id: str, workers: Workers) -> None:
        chaos = Chaos(self._seed, self._harms(workers))
        watcher = asyncio.create_task(self._watch_attempts(client, tenant_id))
        reporter = asyncio.create_task(self._report(chaos))
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(chaos.run(lambda: self._done / self._count))
                numbers = iter(range(self._count))
                for _ in range(_AT_ONCE):
                    tasks.create_task(self._one_by_one(client, tenant_id, numbers))
        finally:
            reporter.cancel()
            watcher.cancel()
        self._verdicts.note("runs", self._count)
        self._verdicts.note("  seconds", f"{time.monotonic() - self._began:.0f}")
        for name, times in sorted(chaos.done.items()):
            self._verdicts.note(name, times)
        self._verdicts.none("runs without an end", self._not_ended)

    async def _one_by_one(self, client: Client, tenant_id: str, numbers: Iterator[int]) -> None:
        for number in numbers:
            name = TURNS[number % len(TURNS)]
            run_id = await create_run(client, tenant_id, name, {"number": number})
            try:
                async with asyncio.timeout(self._run_seconds):
                    await finish(client, tenant_id, run_id)
            except (TimeoutError, ApiError) as error:
                self._not_ended.append(f"{name} {run_id}: {error!r}")
            self._done += 1

    def _harms(self, workers: Workers) -> dict[str, tuple[int, Harm]]:
        def kill(part: str) -> Harm:
            return lambda _: workers.kill_part(part)

        todo: dict[str, Harm] = {
            "workers killed": workers.kill,
            "workers frozen": workers.freeze,
            "Temporal killed": kill("temporal"),
            "artifacts killed": kill("artifacts"),
        }
        return {
            name: (max(1, round(_HARMS[name] * self._count / RUNS)), harm)
            for name, harm in todo.items()
        }

    async def _watch_attempts(self, client: Client, tenant_id: str) -> None:
        """See whether two attempts of one step are ever shown as running."""
        database = await self._stack.database(client, tenant_id)
        while True:
            rows = await database.fetch(
                """
                SELECT step_id, array_agg(attempt) FROM step_attempts WHERE status = 'running'
                 GROUP BY step_id HAVING count(*) > 1
                """
            )
            self._twice_running |= {(row[0], *row[1]) for row in rows}
            await asyncio.sleep(0.05)

    async def _report(self, chaos: Chaos) -> None:
        while True:
            await asyncio.sleep(5)
            seconds = time.monotonic() - self._began
            done = dict(chaos.done)
            print(f"  {seconds:4.0f} s  {self._done} of {self._count} runs  {done}", flush=True)

    async def _judge(
        self, client: Client, tenant_id: str, woke: dict[int, float], sent: list[Sent]
    ) -> None:
        verdicts, objects = self._verdicts, self._stack.layout.s3
        calls = await read_calls(client, tenant_id)
        database = await self._stack.database(client, tenant_id)
        verdicts.none("steps with two attempts running at once", self._twice_running)
        await judge_rows(verdicts, database)
        await judge_files(verdicts, database, objects, tenant_id)
        executions = read_executions(self._functions_log)
        await judge_executions(verdicts, database, objects, executions, woke)
        judge_payments(verdicts, calls, sent)
        settled = Counter(
            name for name, call in calls.items() if call.state == call_pb2.CALL_STATE_SETTLED
        )
        verdicts.none("calls that are not settled", [*(calls.keys() - settled.keys())])
        await audit_chain.judge(verdicts, tenant_id, database, settled)
        await database.close()
        management = await self._management()
        await judge_costs(verdicts, calls, management)
        await management.close()

    async def _management(self) -> asyncpg.Connection[asyncpg.Record]:
        return await asyncpg.connect(self._stack.endpoints.pg_url)


async def read_calls(client: Client, tenant_id: str) -> dict[str, call_pb2.Call]:
    """Return all calls of a tenant, by name."""
    request = call_service_pb2.ListCallsRequest(tenant_id=tenant_id, page_size=200)
    found: dict[str, call_pb2.Call] = {}
    while True:
        page = await client.calls.ListCalls(request)
        found |= {name_of(call.key): call for call in page.calls}
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token
