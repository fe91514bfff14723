"""Programs run by the caller itself, for as long as a block lasts: tests and benchmarks."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, TypeVar

from nagaya_local.errors import NotReady, PartFailed
from nagaya_local.machine import files, processes

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncGenerator, Generator
    from pathlib import Path

    from nagaya_local.machine.programs import Program

ProgramT = TypeVar("ProgramT", bound="Program")

_POLL_SECONDS = 0.05
_LOG_LINES = 20


@contextlib.asynccontextmanager
async def running(
    program: ProgramT, log: Path, *, seconds: float = 60.0
) -> AsyncGenerator[ProgramT]:
    """Run a program, ready on entry, ended on exit.

    Raises PartFailed when it ends early or is not ready in time.
    """
    process = await start(program, log, seconds=seconds)
    try:
        yield program
    finally:
        await processes.stop(process, program.stopping)


@contextlib.contextmanager
def running_from_sync(
    program: ProgramT, log: Path, *, seconds: float = 60.0
) -> Generator[ProgramT]:
    """The same for callers without an event loop, such as session fixtures."""
    process = asyncio.run(start(program, log, seconds=seconds))
    try:
        yield program
    finally:
        asyncio.run(processes.stop(process, program.stopping))


async def start(program: Program, log: Path, *, seconds: float = 60.0) -> subprocess.Popen[bytes]:
    """Prepare and start a program and wait until it is ready. Raises PartFailed."""
    logged = files.size(log)
    await program.prepare()
    command = program.command()
    if command is None:
        raise ValueError("somebody else runs this program")
    process = processes.spawn(command, log)
    try:
        await _until_ready(program, process, log, logged, seconds)
    except BaseException:
        await processes.stop(process, program.stopping)
        raise
    return process


async def _until_ready(
    program: Program, process: subprocess.Popen[bytes], log: Path, logged: int, seconds: float
) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            return await program.probe()
        except NotReady as lack:
            status = process.poll()
            if status is None and time.monotonic() < deadline:
                await asyncio.sleep(_POLL_SECONDS)
                continue
            ended = "is not ready" if status is None else processes.describe_exit(status)
            tail = files.tail(log, _LOG_LINES, logged)
            raise PartFailed(f"{log.stem}: {ended}: {lack}", f"Read {log}.", tail) from None
