"""Runs of seven tenants while an eighth has a long queue, beside the same without it.

B to H create 20 runs of three steps each. Then tenant A creates 2,000 as fast as they are taken,
and as soon as the last is created the others do the same twice; A's queue outlasts them, and is
cancelled. Then they do it once more alone: a machine that becomes slower slows both. What is
compared is how long these take, from their creation to their end as their rows have it: the 95th
percentile of all, and of each tenant's own 20.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import uuid
from typing import TYPE_CHECKING

from bench import part
from bench.goals import Goals
from bench.stack import SERVICES, create_tenant, our_stack
from nagaya.runs.v1 import pipeline_pb2, pipeline_service_pb2, run_pb2, run_service_pb2
from nagaya_client.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nagaya_client.client import Client

GOAL = 1.5
QUEUE = int(os.environ.get("FAIRNESS_QUEUE", "2000"))  # noqa: TID251 - how much, not where
TIMES = 2
RUNS = 20
PARTS = ("postgres", "s3", "temporal", *SERVICES, "runs-worker")
PIPELINE = "three"
A, *OTHERS = [f"bench-{letter}" for letter in "abcdefgh"]
_AT_ONCE = 32
_SECONDS = 900.0
_PAGE = 200
_BULK = 50
_OPEN = (run_pb2.RUN_STATE_PENDING, run_pb2.RUN_STATE_RUNNING)


async def main() -> int:
    goals = Goals()
    async with our_stack(PARTS) as stack, stack.client() as nagaya:
        for tenant in (A, *OTHERS):
            await _prepare(nagaya, tenant)
        await _durations(nagaya, OTHERS)  # warms up
        alone = await _durations(nagaya, OTHERS)
        await _create(nagaya, A, QUEUE)
        beside: list[list[float]] = []
        for _ in range(TIMES):
            beside += await _durations(nagaya, OTHERS)
            if not await _open(nagaya, A):
                goals.not_measured("tenants beside a long queue", "the queue was over before them")
                return goals.exit_code
        await _cancel(nagaya, A)
        alone += await _durations(nagaya, OTHERS)
        _judge(goals, alone, beside)
    return goals.exit_code


def _judge(goals: Goals, alone: Sequence[list[float]], beside: Sequence[list[float]]) -> None:
    ours, base = (_p95([one for each in found for one in each]) for found in (beside, alone))
    name = f"{len(OTHERS)} tenants, {RUNS} runs each, beside {QUEUE:,} of another, p95"
    goals.at_most(name, ours / base, GOAL, f"{ours:.1f} s", f"without them {base:.1f} s")
    worst, usual = max(map(_p95, beside)), max(map(_p95, alone))
    goals.shown(
        "of the tenant that waits longest", f"{worst:.1f} s", f"{usual:.1f} s", worst / usual
    )


def _p95(seconds: Sequence[float]) -> float:
    return statistics.quantiles(seconds, n=20)[-1]


async def _prepare(nagaya: Client, tenant: str) -> None:
    await create_tenant(nagaya, tenant)
    function = pipeline_pb2.FunctionStep(function="constant")
    names = ("first", "second", "third")
    steps = [
        pipeline_pb2.StepSpec(step=name, needs=[needed], function=function)
        for name, needed in zip(names, ("input", *names[:-1]), strict=True)
    ]
    await nagaya.pipelines.CreatePipelineVersion(
        pipeline_service_pb2.CreatePipelineVersionRequest(
            tenant_id=tenant,
            request_id=PIPELINE,
            pipeline=PIPELINE,
            spec=pipeline_pb2.PipelineSpec(steps=steps),
        )
    )


async def _create(nagaya: Client, tenant: str, count: int) -> set[str]:
    """Create runs as fast as they are taken; return their ids."""
    at_once = asyncio.Semaphore(_AT_ONCE)

    async def create() -> str:
        async with at_once:
            request = run_service_pb2.CreateRunRequest(
                tenant_id=tenant, request_id=uuid.uuid4().hex, pipeline=PIPELINE
            )
            request.inline.string_value = "nothing"
            while True:
                try:
                    return (await nagaya.runs.CreateRun(request)).run.run_id
                except ApiError as error:  # more calls at once than a busy machine takes
                    if error.reason != "ERROR_REASON_LIMIT_EXCEEDED":
                        raise
                await asyncio.sleep(0.5)

    return set(await asyncio.gather(*(create() for _ in range(count))))


async def _durations(nagaya: Client, tenants: Sequence[str]) -> list[list[float]]:
    """Create runs of tenants at once; return for each how long they took, in seconds."""

    async def of(tenant: str) -> list[float]:
        created = await _create(nagaya, tenant, RUNS)
        await _until_ended(nagaya, tenant)
        request = run_service_pb2.ListRunsRequest(tenant_id=tenant, page_size=_PAGE)
        runs = (await nagaya.runs.ListRuns(request)).runs
        ended = [one for one in runs if one.run_id in created]
        if {one.state for one in ended} != {run_pb2.RUN_STATE_COMPLETED} or len(ended) != RUNS:
            raise RuntimeError(f"runs of {tenant} did not complete")
        return [
            (one.end_time.ToNanoseconds() - one.create_time.ToNanoseconds()) / 1e9 for one in ended
        ]

    return await asyncio.gather(*map(of, tenants))


async def _cancel(nagaya: Client, tenant: str) -> None:
    """Cancel a tenant's runs, and wait until none is left."""
    request = run_service_pb2.BulkRunsRequest(
        tenant_id=tenant,
        request_id=uuid.uuid4().hex,
        filter=run_pb2.RunFilter(states=_OPEN),
        operation=run_service_pb2.RUN_OPERATION_CANCEL,
        page_size=_BULK,
    )
    while (page := await nagaya.runs.BulkRuns(request)).next_page_token:
        request.page_token = page.next_page_token
    await _until_ended(nagaya, tenant)


async def _until_ended(nagaya: Client, tenant: str) -> None:
    """Wait until a tenant has no run that has not ended."""
    async with asyncio.timeout(_SECONDS):
        while await _open(nagaya, tenant):  # noqa: ASYNC110 - another process ends them
            await asyncio.sleep(0.5)


async def _open(nagaya: Client, tenant: str) -> int:
    """Return how many runs of a tenant have not ended; 200 of a state at most are counted."""
    count = 0
    for state in _OPEN:
        request = run_service_pb2.ListRunsRequest(tenant_id=tenant, state=state, page_size=_PAGE)
        count += len((await nagaya.runs.ListRuns(request)).runs)
    return count


if __name__ == "__main__":
    part.run(main)
