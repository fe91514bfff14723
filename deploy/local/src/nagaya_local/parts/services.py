"""The Python processes of the stack: the stub, the four services and the worker."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from nagaya_local.machine.programs import Command, Stopping

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path


class PythonProgram:
    """`python -m <module>` of this environment, with its settings in environment variables."""

    def __init__(
        self,
        module: str,
        folder: Path,
        settings: Mapping[str, str],
        ask: Callable[[], Awaitable[None]],
        arguments: tuple[str, ...] = (),
    ) -> None:
        self._module = module
        self._folder = folder
        self._settings = settings
        self._ask = ask
        self._arguments = arguments

    @property
    def stopping(self) -> Stopping:
        return Stopping(seconds=25.0)

    async def prepare(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)

    def command(self) -> Command:
        settings = {"PYTHONUNBUFFERED": "1", "GRPC_VERBOSITY": "ERROR"} | dict(self._settings)
        argv = (sys.executable, "-m", self._module, *self._arguments)
        return Command(argv, self._folder, settings)

    async def probe(self) -> None:
        await self._ask()
