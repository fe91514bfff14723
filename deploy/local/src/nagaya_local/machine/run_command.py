"""Commands that may hang: they are killed when they show no progress."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_POLL_SECONDS = 0.5


class CommandFailed(Exception):
    """The command failed or made no progress; the text says which."""


async def run_command(
    argv: tuple[str, ...], idle_seconds: float, on_line: Callable[[str], None]
) -> None:
    """Run a command, hand each line it prints to `on_line`, and kill it once it is idle.

    Raises CommandFailed when the command fails, cannot be run or prints nothing for
    `idle_seconds`.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise CommandFailed(str(error)) from error
    progress = _Progress(on_line)
    reading = asyncio.create_task(progress.read(process.stdout))
    try:
        while not (await asyncio.wait({reading}, timeout=_POLL_SECONDS))[0]:
            if progress.age() > idle_seconds:
                raise CommandFailed(f"no progress for {idle_seconds:.0f} s; last: {progress.last}")
        status = await process.wait()
    finally:
        reading.cancel()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    if status != 0:
        raise CommandFailed(progress.last)


class _Progress:
    """The last line of a command's output, and its age."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._at = time.monotonic()
        self.last = "it said nothing"

    async def read(self, output: asyncio.StreamReader | None) -> None:
        assert output is not None  # noqa: S101 - asked for with PIPE
        async for line in output:
            self._at = time.monotonic()
            text = line.decode(errors="replace").strip()
            if text:
                self.last = text[:300]
                self._on_line(text)

    def age(self) -> float:
        """Seconds since the last progress."""
        return time.monotonic() - self._at
