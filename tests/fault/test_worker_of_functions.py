"""A worker that is killed, frozen or stopped while it has a function done."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.e2e.test_steps import function
from tests.support.notes import wait_for_notes
from tests.support.processes import wait_until_gone
from tests.support.public_api import create_pipeline, create_run, create_tenant, finish
from tests.support.waiting import wait_until

from nagaya.runs.v1 import run_pb2, run_service_pb2

if TYPE_CHECKING:
    from collections.abc import Generator

    from tests.support.stack import LocalStack

    from nagaya_client.client import Client

pytestmark = pytest.mark.timeout(300)


class Waiting:
    """A run whose function waits until it may end, and notes where it is done."""

    def __init__(self, stack: LocalStack, client: Client, folder: Path) -> None:
        self._stack = stack
        self._client = client
        self._note, self._until = folder / "note", folder / "until"
        self.tenant_id = ""
        self.run_id = ""

    async def begin(self) -> int:
        """Create the run; return the process in which its function waits."""
        self.tenant_id = await create_tenant(self._client, "waiting")
        arguments = {"note": str(self._note), "until": str(self._until)}
        step = function("wait", "test.waits", arguments=arguments)
        await create_pipeline(self._client, self.tenant_id, "test", {"steps": [step]})
        self.run_id = await create_run(self._client, self.tenant_id, "test", None)
        return (await self.begun(1))[0]

    async def begun(self, count: int) -> list[int]:
        """Wait until the function has begun so often; return its processes.

        Temporal may hand a step to a frozen worker several times, and waits 10 s each time.
        """
        return [process for _, process in await wait_for_notes(self._note, count, 120.0)]

    async def end(self) -> run_pb2.Run:
        self._until.touch()
        async with asyncio.timeout(120):
            return await finish(self._client, self.tenant_id, self.run_id)

    async def get(self, client: Client) -> run_pb2.Run:
        request = run_service_pb2.GetRunRequest(tenant_id=self.tenant_id, run_id=self.run_id)
        return (await client.runs.GetRun(request)).run

    async def attempts(self) -> list[tuple[str, str | None]]:
        database = await self._stack.database(self._client, self.tenant_id)
        rows = await database.fetch("SELECT status, reason FROM step_attempts ORDER BY attempt")
        await database.close()
        return [tuple(row) for row in rows]


async def worker_of(stack: LocalStack) -> int:
    """Return the process id of the stack's worker, once there is one again."""

    async def pid() -> int:
        return int(json.loads(stack.layout.pids.read_text()).get("runs-worker", 0))

    return await wait_until(pid, seconds=60)


async def test_a_function_is_done_again_when_its_worker_is_killed(
    stack: LocalStack, tmp_path: Path
) -> None:
    async with stack.client() as client:
        waiting = Waiting(stack, client, tmp_path)
        process = await waiting.begin()
        os.kill(await worker_of(stack), signal.SIGKILL)
        await wait_until_gone(process)
        await waiting.begun(2)
        run = await waiting.end()

        assert run.state == run_pb2.RUN_STATE_COMPLETED, run.error
        assert await waiting.attempts() == [("failed", "LOST"), ("completed", None)]


async def test_a_worker_that_is_asked_to_end_lets_functions_end_and_leaves_no_process(
    stack: LocalStack, tmp_path: Path
) -> None:
    async with stack.client() as client:
        waiting = Waiting(stack, client, tmp_path)
        process = await waiting.begin()
        worker = await worker_of(stack)
        log = stack.layout.data / "logs" / "runs-worker.log"
        before = len(log.read_text().splitlines())
        os.kill(worker, signal.SIGTERM)
        await logged(log, before, "finishing")
        run = await waiting.end()
        await wait_until_gone(process)
        await wait_until_gone(worker)

        assert run.state == run_pb2.RUN_STATE_COMPLETED, run.error
        assert await waiting.attempts() == [("completed", None)]
        assert "stopped" in messages(log, before)


async def test_what_a_frozen_worker_had_begun_is_done_once_by_another(
    stack: LocalStack, tmp_path: Path
) -> None:
    # The stack ends a worker of its own that freezes; this one it does not know.
    variables = (Path("/proc") / str(await worker_of(stack)) / "environ").read_text().split("\0")
    environment = dict(variable.split("=", 1) for variable in variables if "=" in variable)
    environment["NAGAYA_METRICS_PORT"] = "0"
    frozen = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "runs.worker"), env=environment, stderr=asyncio.subprocess.DEVNULL
    )
    async with stack.client() as client:
        try:
            waiting = await begun_by(frozen.pid, stack, client, tmp_path)
            frozen.send_signal(signal.SIGSTOP)
            await waiting.begun(2)
            frozen.send_signal(signal.SIGCONT)
            run = await waiting.end()
            attempts = await waiting.attempts()
        finally:
            frozen.send_signal(signal.SIGCONT)
            frozen.send_signal(signal.SIGTERM)
            ended = await frozen.wait()

    assert run.state == run_pb2.RUN_STATE_COMPLETED, run.error
    assert attempts[-1] == ("completed", None)
    assert set(attempts[:-1]) == {("failed", "LOST")}
    assert ended == 0


async def test_a_run_that_is_cancelled_while_its_worker_is_frozen_ends_when_it_goes_on(
    stack: LocalStack, tmp_path: Path
) -> None:
    async with stack.client() as client:
        waiting = Waiting(stack, client, tmp_path)
        await waiting.begin()
        worker = await worker_of(stack)
        os.kill(worker, signal.SIGSTOP)
        try:
            names = {"tenant_id": waiting.tenant_id, "run_id": waiting.run_id}
            await client.runs.CancelRun(run_service_pb2.CancelRunRequest(**names))
            frozen = (await client.runs.GetRun(run_service_pb2.GetRunRequest(**names))).run
        finally:
            os.kill(worker, signal.SIGCONT)
        async with asyncio.timeout(60):
            run = await finish(client, waiting.tenant_id, waiting.run_id)
        attempts = await waiting.attempts()

    assert frozen.state == run_pb2.RUN_STATE_RUNNING
    assert run.state == run_pb2.RUN_STATE_CANCELLED
    assert ("completed", None) not in attempts


async def test_a_run_whose_worker_is_frozen_says_so_within_a_minute(
    stack: LocalStack, tmp_path: Path
) -> None:
    async with stack.client() as client:
        waiting = Waiting(stack, client, tmp_path)
        await waiting.begin()
        worker = await worker_of(stack)
        with frozen_processes(parent_of(worker), worker):  # the stack would end the worker
            frozen_at = time.monotonic()

            async def reason() -> str:
                return (await waiting.get(client)).stuck_reason

            stuck = await wait_until(reason, seconds=60, pause=0.5)
            seconds = time.monotonic() - frozen_at
        run = await waiting.end()

    assert "worker" in stuck
    assert seconds < 60
    assert (run.state, run.stuck_reason) == (run_pb2.RUN_STATE_COMPLETED, "")


@contextmanager
def frozen_processes(*processes: int) -> Generator[None]:
    """Stop processes in their tracks inside the block."""
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in reversed(processes):
            os.kill(process, signal.SIGCONT)


def parent_of(process: int) -> int:
    status = (Path("/proc") / str(process) / "status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("PPid:"))


async def begun_by(worker: int, stack: LocalStack, client: Client, folder: Path) -> Waiting:
    """Begin runs until one is done by this worker; the others end."""
    for number in range(40):
        (folder / str(number)).mkdir()
        waiting = Waiting(stack, client, folder / str(number))
        process = await waiting.begin()
        if f"PPid:\t{worker}\n" in (Path("/proc") / str(process) / "status").read_text():
            return waiting
        await waiting.end()
    raise AssertionError("the worker does nothing")


async def logged(log: Path, before: int, message: str) -> None:
    async def found() -> bool:
        return message in messages(log, before)

    await wait_until(found)


def messages(log: Path, before: int) -> list[str]:
    return [json.loads(line)["message"] for line in log.read_text().splitlines()[before:]]
