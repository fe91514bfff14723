"""A process that walks a plan; with `as-the-worker` it has read the worker's settings before."""

from __future__ import annotations

import asyncio
import sys

from langchain_core.tracers.langchain import wait_for_all_tracers

from runs.config import WorkerConfig
from runs.domain.chains import Chain, RepeatedChains, chains
from runs.domain.plan import Plan, PlanStep
from runs.worker.graph import run_chains


async def main() -> None:
    plan = Plan((PlanStep("a"), PlanStep("b", needs=("a",), map_step="a")))
    await run_chains(chains(plan), do)


async def do(chain: Chain | RepeatedChains) -> None:
    sys.stdout.write(f"{chain.name}\n")


if __name__ == "__main__":
    if sys.argv[1] == "as-the-worker":
        WorkerConfig.read()
    asyncio.run(main())
    wait_for_all_tracers()
