"""The baseline: a Temporal worker as in its documentation, with three activities of no work.

`python -m bench.raw_worker QUEUE` works until it is told to stop; it prints `ready` first.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import Worker


@activity.defn
async def nothing(step: str) -> str:
    return step


@workflow.defn
class ThreeSteps:
    """A workflow of three activities, one after the other."""

    @workflow.run
    async def run(self, name: str) -> str:
        for step in ("first", "second", "third"):
            await workflow.execute_activity(
                nothing, step, start_to_close_timeout=timedelta(seconds=30)
            )
        return name


async def main(address: str, queue: str) -> None:
    client = await Client.connect(address)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with Worker(client, task_queue=queue, workflows=[ThreeSteps], activities=[nothing]):
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await stopped.wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
    os._exit(0)  # the SDK's threads abort one interpreter in 25 that cleans up
