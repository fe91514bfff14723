"""A program of the stack: its preparation, command, probe and stop signal."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Command:
    """A process to start; `environment` is added to the little that every process gets.

    `user` names the account it runs as (only root can ask for that).
    """

    argv: tuple[str, ...]
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    user: str | None = None


@dataclass(frozen=True, slots=True)
class Stopping:
    """How to ask a process to end, and how long it may take before it is killed."""

    signal: signal.Signals = signal.SIGTERM
    seconds: float = 15.0


class Program(Protocol):
    """One process of the stack."""

    @property
    def stopping(self) -> Stopping: ...

    async def prepare(self) -> None:
        """Make everything the process needs on disk; harmless when it is there already."""
        ...

    def command(self) -> Command | None:
        """What to run; None when somebody else runs it."""
        ...

    async def probe(self) -> None:
        """Return when the program does its work; raises NotReady otherwise."""
        ...
