"""Runs a second of three short function steps, beside three activities of a raw Temporal worker.

Ours counts from CreateRun until the watch has seen the run completed: by then every row, event and
artifact is committed. The baseline counts from start_workflow to its result, on the same server.
Both are asked by 16 clients at once, in turn, so that a slow machine slows both.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
import uuid
from typing import TYPE_CHECKING

from temporalio.client import Client as Temporal

from bench import part
from bench.goals import Goals
from bench.raw_worker import ThreeSteps
from bench.stack import our_stack
from nagaya.runs.v1 import pipeline_pb2, pipeline_service_pb2, run_pb2, run_service_pb2
from nagaya.tenant.v1 import tenant_service_pb2

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from nagaya_client.client import Client

CLIENTS = 16
ROUNDS = 7
SECONDS = 4.0
GOAL = 0.8
TENANT = "bench-runs"
PIPELINE = "three-short-steps"
_FINAL = (run_pb2.RUN_STATE_COMPLETED, run_pb2.RUN_STATE_FAILED, run_pb2.RUN_STATE_CANCELLED)


async def main() -> int:
    async with our_stack() as stack, stack.client() as nagaya:
        await _prepare(nagaya)
        temporal = stack.endpoints.temporal
        queue = f"bench-{uuid.uuid4().hex[:8]}"
        raw = subprocess.Popen(  # noqa: ASYNC220 - started once, with our own arguments
            [sys.executable, "-m", "bench.raw_worker", temporal, queue],
            stdout=subprocess.PIPE,
        )
        try:
            if raw.stdout is None or not await asyncio.to_thread(raw.stdout.readline):
                raise RuntimeError("the raw worker does not work")
            return await _compare(nagaya, await Temporal.connect(temporal), queue)
        finally:
            raw.terminate()
            raw.wait()


async def _compare(nagaya: Client, temporal: Temporal, queue: str) -> int:
    async def raw() -> None:
        name = uuid.uuid4().hex
        await temporal.execute_workflow(ThreeSteps.run, name, id=f"bench/{name}", task_queue=queue)

    async def ours() -> None:
        await _run(nagaya)

    await _rate(raw, 2.0)
    await _rate(ours, 2.0)
    ratios: list[float] = []
    for _ in range(ROUNDS):
        baseline, own = await _rate(raw, SECONDS), await _rate(ours, SECONDS)
        ratios.append(own / baseline)
        print(f"runs/s: ours {own:6.1f}   raw worker {baseline:6.1f}   ratio {ratios[-1]:.2f}")
    goals = Goals()
    goals.at_least("runs", statistics.median(ratios), GOAL)
    return goals.exit_code


async def _rate(do: Callable[[], Awaitable[None]], seconds: float) -> float:
    end = time.monotonic() + seconds
    done = 0

    async def client() -> None:
        nonlocal done
        while time.monotonic() < end:
            await do()
            done += 1

    began = time.monotonic()
    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return done / (time.monotonic() - began)


async def _run(nagaya: Client) -> None:
    request = run_service_pb2.CreateRunRequest(
        tenant_id=TENANT, request_id=uuid.uuid4().hex, pipeline=PIPELINE
    )
    request.inline.string_value = "nothing"
    created = await nagaya.runs.CreateRun(request)
    watch = run_service_pb2.WatchRunRequest(tenant_id=TENANT, run_id=created.run.run_id)
    async for message in nagaya.runs.WatchRun(watch):
        if message.event.HasField("run") and message.event.run.state in _FINAL:
            if message.event.run.state != run_pb2.RUN_STATE_COMPLETED:
                raise RuntimeError(message.event.run.error.message)
            return


async def _prepare(nagaya: Client) -> None:
    await nagaya.tenants.CreateTenant(
        tenant_service_pb2.CreateTenantRequest(
            tenant_id=TENANT, request_id=TENANT, name="Benchmark"
        )
    )
    steps = [
        pipeline_pb2.StepSpec(
            step=name,
            needs=needs,
            function=pipeline_pb2.FunctionStep(function="constant", short=True),
        )
        for name, needs in (("first", ()), ("second", ("first",)), ("third", ("second",)))
    ]
    await nagaya.pipelines.CreatePipelineVersion(
        pipeline_service_pb2.CreatePipelineVersionRequest(
            tenant_id=TENANT,
            request_id="bench",
            pipeline=PIPELINE,
            spec=pipeline_pb2.PipelineSpec(steps=steps),
        )
    )


if __name__ == "__main__":
    part.run(main)
