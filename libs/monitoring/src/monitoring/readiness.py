"""What a process waits for before it can do its work, in words for people."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

_START = "start"


class Readiness:
    """What a process waits for. It is ready once it has started and waits for nothing.

    One tenant's database is nothing to wait for: the process goes on for all the others. The event
    loop writes, any thread may read.
    """

    def __init__(self) -> None:
        self._waits: dict[str, str] = {_START: "its start"}

    def started(self) -> None:
        """Note that the process does its work from now on."""
        self.found(_START)

    def wait_for(self, name: str, what: str) -> None:
        """Note what is waited for, until `found`; `name` is that of the condition."""
        self._waits = self._waits | {name: what}

    def found(self, name: str) -> None:
        """Note that a condition is met."""
        self._waits = {other: what for other, what in self._waits.items() if other != name}

    @contextmanager
    def waiting(self, what: str) -> Generator[None]:
        """Wait for something inside the block."""
        self.wait_for(what, what)
        try:
            yield
        finally:
            self.found(what)

    @property
    def waits_for(self) -> tuple[str, ...]:
        """What is waited for now; the start itself only while nothing else is known."""
        waits = dict(self._waits)
        if len(waits) > 1:
            waits.pop(_START, None)
        return tuple(waits.values())

    @property
    def ready(self) -> bool:
        return not self._waits
