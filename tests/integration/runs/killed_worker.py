"""A worker that records its calls, and dies by SIGKILL at a step called `fatal`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from temporalio import activity
from tests.integration.runs.recording_worker import RecordedActivities, worker

from runs.domain.activities import StepRef, StepResult


class FatalNotes(RecordedActivities):
    @activity.defn
    async def run_step(self, work: StepRef) -> StepResult:
        if work.step == "fatal":
            os.kill(os.getpid(), signal.SIGKILL)
        return await super().run_step(work)


async def main(address: str, queue: str) -> None:
    async with worker(address, FatalNotes(), queue):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
