"""Programs that tests start, kill and stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.support.waiting import fewer_run, wait_until

from nagaya_local.machine.ports import free_port
from servicekit.testing import ISSUER

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Generator, Mapping

    from servicekit.testing import Keys

ROOT = Path(__file__).parents[2]
"""Of the repository."""
_START_SECONDS = 90.0
_END_SECONDS = 20.0
_LOG_LINES = 20


class Process:
    """A program; its standard error goes to a file."""

    def __init__(self, name: str, command: list[str], log: Path, env: Mapping[str, str]) -> None:
        self.name = name
        self.log = log
        self._command = command
        self._env = {**os.environ, **env}
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._popen is not None
        return self._popen.pid

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                self._command, env=self._env, stdout=subprocess.PIPE, stderr=log
            )

    def first_line(self) -> str:
        assert self._popen is not None
        assert self._popen.stdout is not None
        return self._popen.stdout.readline().decode()

    def running(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    def ended(self) -> str:
        """Say that it has ended, and how; nothing while it runs."""
        if self.running():
            return ""
        status = None if self._popen is None else self._popen.returncode
        return "\n".join([f"{self.name} has ended with {status}", *self.last_lines()])

    def last_lines(self) -> list[str]:
        return self.log.read_text().splitlines()[-_LOG_LINES:]

    async def wait_until_logged(
        self, text: str, *asked: asyncio.Future[Any], times: int = 1, seconds: float = 60.0
    ) -> None:
        """Return when its log says a text so often.

        Fails the test at once when it has ended, or the tasks that ask it have.
        """

        async def logged() -> bool:
            return self.log.read_text().count(text) >= times

        callers_ended = fewer_run(asked)
        await wait_until(logged, unless=lambda: self.ended() or callers_ended(), seconds=seconds)

    def kill(self) -> None:
        """Kill it with -9, as a crash would."""
        os.kill(self.pid, signal.SIGKILL)
        self.wait()

    def stop(self) -> None:
        if self.running():
            os.kill(self.pid, signal.SIGTERM)
            self.wait()

    def wait(self) -> None:
        """Return when it has ended, at its own will or after 20 seconds."""
        assert self._popen is not None
        try:
            self._popen.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        if self._popen.stdout is not None:
            self._popen.stdout.close()


class ServiceProcess(Process):
    """A service on a port of its own, which stays the same when it is started again."""

    def __init__(
        self, name: str, module: str, keys: Keys, folder: Path, env: Mapping[str, str]
    ) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        common = {
            "NAGAYA_LISTEN": self.address,
            "NAGAYA_DRAIN_SECONDS": "0",
            "NAGAYA_JWKS_FILE": str(keys.jwks_file),
            "NAGAYA_TOKEN_ISSUER": ISSUER,
        }
        command = [sys.executable, "-m", module]
        super().__init__(name, command, folder / f"{name}.log", {**common, **env})

    def start(self) -> None:
        """Return when it serves."""
        super().start()
        until = time.monotonic() + _START_SECONDS
        with grpc.insecure_channel(self.address) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            while time.monotonic() < until and self.running():
                try:
                    answer = stub.Check(  # pyright: ignore[reportAttributeAccessIssue] - its stub is of grpc.aio
                        health_pb2.HealthCheckRequest(), timeout=1.0
                    )
                    if answer.status == health_pb2.HealthCheckResponse.SERVING:
                        return
                except grpc.RpcError:
                    pass
                time.sleep(0.05)  # another process's health is nothing to wait on
        raise RuntimeError("\n".join([f"{self.name} does not serve", *self.last_lines()]))


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def wait_until_gone(pid: int) -> None:
    """Return when a process that is not a child of ours has ended."""

    async def gone() -> bool:
        return not is_alive(pid)

    await wait_until(gone)


@contextmanager
def running(process: ServiceProcess) -> Generator[ServiceProcess]:
    """Run a service inside the block."""
    process.start()
    try:
        yield process
    finally:
        process.stop()
