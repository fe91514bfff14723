"""A worker whose steps called `failing` fail each time, and so do the ends of its runs.

It ends when it is asked to.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from tests.integration.runs.recording_worker import RecordedActivities, worker


async def main(address: str, queue: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with worker(address, RecordedActivities(failing=True), queue):
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
    os._exit(0)  # the SDK's threads abort one interpreter in 25 that cleans up
