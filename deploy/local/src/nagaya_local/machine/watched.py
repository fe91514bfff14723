"""Commands of others that may hang: they are ended when they show no progress."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_LOOK_SECONDS = 0.5


class Silent(Exception):
    """The command failed or made no progress; the text says which."""


async def run_watched(argv: tuple[str, ...], silence: float, heard: Callable[[str], None]) -> None:
    """Run a command, hand each line it prints to `heard`, and end it after `silence` seconds.

    Raises Silent when the command fails, cannot be run or prints nothing for so long.
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
        raise Silent(str(error)) from error
    progress = _Progress(heard)
    reading = asyncio.create_task(progress.read(process.stdout))
    try:
        while not (await asyncio.wait({reading}, timeout=_LOOK_SECONDS))[0]:
            if progress.age() > silence:
                raise Silent(f"no progress for {silence:.0f} s; last: {progress.last}")
        status = await process.wait()
    finally:
        reading.cancel()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    if status != 0:
        raise Silent(progress.last)


class _Progress:
    def __init__(self, heard: Callable[[str], None]) -> None:
        self._heard = heard
        self._at = time.monotonic()
        self.last = "it said nothing"

    async def read(self, output: asyncio.StreamReader | None) -> None:
        assert output is not None  # noqa: S101 - asked for with PIPE
        async for line in output:
            self._at = time.monotonic()
            text = line.decode(errors="replace").strip()
            if text:
                self.last = text[:300]
                self._heard(text)

    def age(self) -> float:
        """Seconds since the last progress."""
        return time.monotonic() - self._at
