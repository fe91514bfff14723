"""Events of runs, numbered without a gap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runs.domain.runs import Run

if TYPE_CHECKING:
    from datetime import datetime

    from runs.domain.steps import RunStep


@dataclass(frozen=True, slots=True)
class RunEvent:
    """The run, or one of its steps, as it was right after it changed its status."""

    run_id: str
    sequence: int
    create_time: datetime
    subject: Run | RunStep

    @property
    def last(self) -> bool:
        """Whether nothing follows, because the run's state is final."""
        return isinstance(self.subject, Run) and self.subject.status.final


@dataclass(frozen=True, slots=True)
class StepText:
    """A piece of the text with which a model answers a step, and its offset in characters."""

    attempt: int
    """The attempt of the call; the offset counts in no other attempt's text."""
    offset: int
    text: str


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Nothing has happened for a while; the watch is alive."""

    sequence: int
    """The number of the last event that the watcher has."""
