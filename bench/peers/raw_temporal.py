"""A Temporal worker as in its documentation, with three activities: what runs are measured beside.

`python -m bench.peers.raw_temporal ADDRESS QUEUE URL` works until it is told to stop; it prints
`ready` first. The activities do nothing, or ask the provider at URL, without any record of it.
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

# The sandbox imports this module anew for every workflow: what is passed through costs nothing.
with workflow.unsafe.imports_passed_through():
    import aiohttp

MODEL = "mock"
PROMPT_CHARACTERS = 600


@activity.defn
async def nothing(step: str) -> str:
    return step


class ModelCaller:
    """The activity that calls a model, on connections that are kept."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    @activity.defn
    async def ask(self, step: str) -> str:
        message = {"role": "user", "content": step.ljust(PROMPT_CHARACTERS, "x")}
        body = {"model": MODEL, "max_completion_tokens": 2000, "messages": [message]}
        async with self._session.post(f"{self._url}/chat/completions", json=body) as response:
            response.raise_for_status()
            reply = await response.json()
        return reply["choices"][0]["message"]["content"]


async def three_steps(activity_name: str) -> str:
    for step in ("first", "second", "third"):
        await workflow.execute_activity(
            activity_name, step, start_to_close_timeout=timedelta(seconds=30)
        )
    return activity_name


@workflow.defn
class Sandboxed:
    """A workflow of three activities, one after the other, in the SDK's sandbox, its default."""

    @workflow.run
    async def run(self, activity_name: str) -> str:
        return await three_steps(activity_name)


@workflow.defn(sandboxed=False)
class Unsandboxed:
    """The same without the sandbox, as ours run."""

    @workflow.run
    async def run(self, activity_name: str) -> str:
        return await three_steps(activity_name)


async def main(address: str, queue: str, url: str) -> None:
    client = await Client.connect(address)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(60)) as session:
        activities = [nothing, ModelCaller(session, url).ask]
        workflows = [Sandboxed, Unsandboxed]
        async with Worker(client, task_queue=queue, workflows=workflows, activities=activities):
            sys.stdout.write("ready\n")
            sys.stdout.flush()
            await stopped.wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
    os._exit(0)  # the SDK's threads abort one interpreter in 25 that cleans up
