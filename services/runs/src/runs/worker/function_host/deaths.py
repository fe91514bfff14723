"""How a process of functions, or a call in it, comes to an end that the function did not choose."""

from __future__ import annotations

import signal
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Death:
    """How a process ended."""

    cause: str
    """`exit code 3`, `SIGKILL`, or what it was ended for."""
    output: str
    """The end of what it wrote to standard output and standard error."""

    @classmethod
    def of(cls, code: int | None, killed_for: str, output: bytes) -> Death:
        """Tell of a process by its exit code, and what it was ended for if it was."""
        return cls(killed_for or _cause(code), output.decode(errors="replace"))


class ProcessEnded(Exception):
    """The process ended while it did a function."""

    def __init__(self, death: Death) -> None:
        super().__init__(death.cause)
        self.death = death


class TookTooLong(Exception):
    """A function was not done within its time; it has been stopped."""

    def __init__(self, *, kept_waiting: bool) -> None:
        super().__init__()
        self.kept_waiting = kept_waiting
        """Whether another function of the process may have kept it from being done."""


class StartFailed(Exception):
    """No process could be started."""


def _cause(code: int | None) -> str:
    if code is None:
        return "it does not end"
    try:
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"
    except ValueError:
        return f"signal {-code}"
