"""How a process of functions ends, or a call in it, when the function did not choose it."""

from __future__ import annotations

import signal
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProcessExit:
    """How a process ended."""

    cause: str
    """`exit code 3`, `SIGKILL`, or why it was killed."""
    output: str
    """The end of what it wrote to standard output and standard error."""

    @classmethod
    def of(cls, code: int | None, killed_because: str, output: bytes) -> ProcessExit:
        """Describe an exit by its code, or by why the worker killed the process."""
        return cls(killed_because or _cause(code), output.decode(errors="replace"))


class ProcessEnded(Exception):
    """The process ended during a call."""

    def __init__(self, process_exit: ProcessExit) -> None:
        super().__init__(process_exit.cause)
        self.process_exit = process_exit


class CallTimedOut(Exception):
    """A function did not return in time, and has been stopped."""

    def __init__(self, *, was_blocked: bool) -> None:
        super().__init__()
        self.was_blocked = was_blocked
        """Whether another function of the process may have kept this one from running."""


class OutOfMemory(Exception):
    """A function was refused memory."""


class StartFailed(Exception):
    """No process could be started."""


def _cause(code: int | None) -> str:
    if code is None:
        return "it does not end"
    try:
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"
    except ValueError:
        return f"signal {-code}"
