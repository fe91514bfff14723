"""What an activity is at, and what it waits for: its heartbeat tells it, and whoever asks why a
run does not move. Names and our own messages, and nothing else.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from contextlib import AbstractContextManager

_REASON_LENGTH = 200


@dataclass(frozen=True, slots=True)
class Waiting:
    """The steps that are being done, and what they wait for; empty where nothing is known."""

    position: str = ""
    reason: str = ""

    @classmethod
    def parse(cls, details: Sequence[bytes]) -> Self:
        """Read the details of a heartbeat, which are JSON; what is none of ours tells nothing."""
        try:
            texts = [json.loads(detail) for detail in details]
        except ValueError:
            return cls()
        position, reason = [*texts, "", ""][:2]
        return cls(str(position), str(reason))

    def details(self) -> tuple[str, ...]:
        """Return the details of a heartbeat; none when there is nothing to tell."""
        return (self.position, self.reason) if self.position or self.reason else ()

    def __str__(self) -> str:
        return f"{self.position}: {self.reason}" if self.position else self.reason


class WaitingNotes:
    """What the tasks of one activity wait for at the moment."""

    def __init__(self) -> None:
        self._reasons: dict[object, str] = {}

    @property
    def reason(self) -> str:
        """What the first of them waits for that waits for anything."""
        return next(filter(None, self._reasons.values()), "")

    @contextmanager
    def telling(self) -> Generator[Callable[[str], None]]:
        """Yield what tells what is waited for; empty for nothing."""
        key = object()

        def tell(reason: str) -> None:
            self._reasons[key] = reason[:_REASON_LENGTH]

        try:
            yield tell
        finally:
            self._reasons.pop(key, None)


_current: ContextVar[WaitingNotes | None] = ContextVar("runs_waiting", default=None)


def collect_waiting() -> WaitingNotes:
    """Collect what this task, and those that it begins, wait for from now on."""
    notes = WaitingNotes()
    _current.set(notes)
    return notes


def telling() -> AbstractContextManager[Callable[[str], None]]:
    """Return what tells this task's activity what is waited for inside the block."""
    return (_current.get() or WaitingNotes()).telling()
