"""A process that walks a plan; with `as-the-worker` it has read the worker's settings before."""

from __future__ import annotations

import asyncio
import sys

from langchain_core.tracers.langchain import wait_for_all_tracers

from runs.config import WorkerConfig
from runs.domain.plan import Plan, PlanStep
from runs.worker.graph import run_plan


async def main() -> None:
    await run_plan(Plan((PlanStep("a"), PlanStep("b", needs=("a",)))), do)


async def do(step: PlanStep) -> None:
    sys.stdout.write(f"{step.step}\n")


if __name__ == "__main__":
    if sys.argv[1] == "as-the-worker":
        WorkerConfig.read()
    asyncio.run(main())
    wait_for_all_tracers()
