"""The kill run of steered runs: pauses, resumes, retries and cancellations while parts are killed.

Each run is steered at random until it is let alone, and then brought to its end: what is paused is
resumed, what failed is retried, what was cancelled is retried or stays so. Judged from outside, by
the tenants' databases and by the provider's own log.
"""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, TypeVar

from tests.support.catalog import provider
from tests.support.public_api import create_pipeline, create_prompt, create_tenant
from tests.support.stack import running_stack

from bench.kills.chaos import Chaos
from bench.kills.ledger import judge_payments, read_provider_log
from bench.kills.logs import judge_logs
from bench.kills.pipelines import PROMPTS, steered_pipeline
from bench.kills.provider_process import ProviderProcess
from bench.kills.steered_rows import find_faults
from bench.kills.verdicts import Verdicts
from bench.kills.worker import read_calls
from bench.kills.workers import running_workers
from nagaya.llm_gateway.v1 import catalog_service_pb2, model_pb2
from nagaya.runs.v1 import run_pb2, run_service_pb2
from nagaya_client.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from tests.support.stack import LocalStack

    from bench.kills.chaos import Harm
    from bench.kills.workers import Workers
    from nagaya.llm_gateway.v1 import call_pb2
    from nagaya_client.client import Client

RUNS, TENANTS = 200, 8
_AT_ONCE = 16
_STEERED = 3
"""How often a run is steered at most, before it is let alone."""
_LONGEST_SECONDS = 400.0
_KILLED = {
    "runs-worker": 14,
    "runs": 6,
    "llm-gateway": 6,
    "artifacts": 4,
    "tenant": 2,
    "temporal": 2,
    "postgres": 2,
}
"""How often each part is killed, for so many runs."""
_REFUSALS = frozenset(
    {"RUN_FINISHED", "RUN_NOT_FINISHED", "RUN_STOPPING", "RUN_HELD", "NOTHING_TO_RETRY"}
)
_PAUSED, _FAILED = run_pb2.RUN_STATE_PAUSED, run_pb2.RUN_STATE_FAILED
_CANCELLED, _COMPLETED = run_pb2.RUN_STATE_CANCELLED, run_pb2.RUN_STATE_COMPLETED

ResponseT = TypeVar("ResponseT")


def run(count: int, seed: int, folder: Path) -> int:
    """Return how many promises were broken; everything lies in a folder."""
    with running_stack(folder) as stack:
        return asyncio.run(SteeredRun(stack, folder, count, seed).run())


class SteeredRun:
    """One kill run: many runs, what is asked of them and done to the parts, and the judgement."""

    def __init__(self, stack: LocalStack, folder: Path, count: int, seed: int) -> None:
        self._stack = stack
        self._folder = folder
        self._count = count
        self._seed = seed
        self._began = time.monotonic()
        self._verdicts = Verdicts()
        self._asked: Counter[str] = Counter()
        self._done = 0
        self._not_ended: list[str] = []

    async def run(self) -> int:
        counting = ProviderProcess(self._folder)
        await asyncio.to_thread(counting.start)
        try:
            async with (
                self._stack.client() as client,
                running_workers(self._stack, self._folder) as workers,
            ):
                tenants = await self._prepare(client, counting.url)
                await self._do_runs(client, tenants, workers)
                await self._judge(client, tenants, counting.requests)
        finally:
            await asyncio.to_thread(counting.stop)
        layout = self._stack.layout
        logs = [*map(layout.log, ("runs", "runs-worker")), self._folder / "own-worker.log"]
        judge_logs(self._verdicts, logs, layout.log("postgres"))
        print(self._verdicts.table(f"steering, seed {self._seed}"), flush=True)
        return self._verdicts.violations

    async def _prepare(self, client: Client, provider_url: str) -> list[str]:
        each = provider("claude", provider_url, model_pb2.WIRE_FORMAT_CLAUDE_MESSAGES)
        await client.catalog.SetProvider(catalog_service_pb2.SetProviderRequest(provider=each))
        tenants = [await create_tenant(client, "steered") for _ in range(TENANTS)]
        for tenant_id in tenants:
            for step, content in PROMPTS.items():
                await create_prompt(client, tenant_id, step, content)
            spec = steered_pipeline(self._folder / "functions.jsonl")
            await create_pipeline(client, tenant_id, "steered", spec)
        return tenants

    async def _do_runs(self, client: Client, tenants: list[str], workers: Workers) -> None:
        chaos = Chaos(self._seed, self._harms(workers))
        reporter = asyncio.create_task(self._report(chaos))
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(chaos.run(lambda: self._done / self._count))
                numbers = iter(range(self._count))
                for _ in range(_AT_ONCE):
                    tasks.create_task(self._one_by_one(client, tenants, numbers))
        finally:
            reporter.cancel()
        self._verdicts.note("runs", self._count)
        self._verdicts.note("  seconds", f"{time.monotonic() - self._began:.0f}")
        for name, times in sorted((*chaos.done.items(), *self._asked.items())):
            self._verdicts.note(name, times)
        self._verdicts.none("runs without an end", self._not_ended)

    def _harms(self, workers: Workers) -> dict[str, tuple[int, Harm]]:
        def kill(part: str) -> Harm:
            return lambda _: workers.kill_part(part)

        return {
            f"{part} killed": (max(1, round(times * self._count / RUNS)), kill(part))
            for part, times in _KILLED.items()
        } | {"own worker killed": (max(1, round(6 * self._count / RUNS)), workers.kill)}

    async def _one_by_one(self, client: Client, tenants: list[str], numbers: Iterator[int]) -> None:
        for number in numbers:
            chance = random.Random(f"{self._seed} {number}")  # noqa: S311 - to be repeatable
            tenant_id = tenants[number % len(tenants)]
            run_id = ""
            try:
                async with asyncio.timeout(_LONGEST_SECONDS):
                    run_id = await _create(client, tenant_id)
                    await self._steer(client, tenant_id, run_id, chance)
                    await self._bring_to_its_end(client, tenant_id, run_id, chance)
            except TimeoutError:
                self._not_ended.append(f"{tenant_id} {run_id}")
            self._done += 1

    async def _steer(
        self, client: Client, tenant_id: str, run_id: str, chance: random.Random
    ) -> None:
        for _ in range(chance.randint(0, _STEERED)):
            await asyncio.sleep(chance.uniform(0, 1.5))
            what = chance.choice(["pause", "pause", "resume", "resume", "cancel", "retry"])
            await self._ask(client, tenant_id, run_id, what)

    async def _bring_to_its_end(
        self, client: Client, tenant_id: str, run_id: str, chance: random.Random
    ) -> None:
        stays_cancelled = chance.random() < 0.5
        request = run_service_pb2.GetRunRequest(tenant_id=tenant_id, run_id=run_id)
        while True:
            found = (await _answered(lambda: client.runs.GetRun(request))).run
            if found.state == _COMPLETED or (found.state == _CANCELLED and stays_cancelled):
                return
            if found.state == _PAUSED or found.stop == run_pb2.RUN_STOP_PAUSE:
                await self._ask(client, tenant_id, run_id, "resume")
            elif found.state in (_FAILED, _CANCELLED):
                await self._ask(client, tenant_id, run_id, "retry")
            await asyncio.sleep(0.5)

    async def _ask(self, client: Client, tenant_id: str, run_id: str, what: str) -> None:
        runs, key = client.runs, uuid.uuid4().hex
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "pause": lambda: runs.PauseRun(
                run_service_pb2.PauseRunRequest(tenant_id=tenant_id, run_id=run_id)
            ),
            "resume": lambda: runs.ResumeRun(
                run_service_pb2.ResumeRunRequest(tenant_id=tenant_id, run_id=run_id)
            ),
            "cancel": lambda: runs.CancelRun(
                run_service_pb2.CancelRunRequest(tenant_id=tenant_id, run_id=run_id)
            ),
            "retry": lambda: runs.RetryRun(
                run_service_pb2.RetryRunRequest(
                    tenant_id=tenant_id, run_id=run_id, request_id=key, new_calls=True
                )
            ),
        }
        try:
            await _answered(calls[what])
        except ApiError as refused:
            if refused.reason.removeprefix("ERROR_REASON_") not in _REFUSALS:
                raise
            self._asked[f"{what} refused"] += 1
        else:
            self._asked[what] += 1

    async def _report(self, chaos: Chaos) -> None:
        while True:
            await asyncio.sleep(10)
            seconds = time.monotonic() - self._began
            done = {**chaos.done, **self._asked}
            print(f"  {seconds:4.0f} s  {self._done} of {self._count} runs  {done}", flush=True)

    async def _judge(self, client: Client, tenants: list[str], requests: Path) -> None:
        calls: dict[str, call_pb2.Call] = {}
        faults: defaultdict[str, list[object]] = defaultdict(list)
        for tenant_id in tenants:
            database = await self._stack.database(client, tenant_id)
            for name, found in (await find_faults(database)).items():
                faults[name] += found
            await database.close()
            calls |= await read_calls(client, tenant_id)
        for name, found in faults.items():
            self._verdicts.none(name, found)
        judge_payments(self._verdicts, calls, read_provider_log(requests))


async def _create(client: Client, tenant_id: str) -> str:
    request = run_service_pb2.CreateRunRequest(
        tenant_id=tenant_id, request_id=uuid.uuid4().hex, pipeline="steered"
    )
    request.inline.struct_value.SetInParent()
    return (await _answered(lambda: client.runs.CreateRun(request))).run.run_id


async def _answered(call: Callable[[], Awaitable[ResponseT]]) -> ResponseT:
    """Make a call, again and again while parts are being killed."""
    while True:
        try:
            return await call()
        except ApiError as error:
            if not error.transient:
                raise
            await asyncio.sleep(0.2)
