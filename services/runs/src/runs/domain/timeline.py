"""What happened in a run, and when."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from runs.domain.runs import RunStatus
    from runs.domain.steps import RunStep, StepStatus


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One attempt at a piece of work, as its row tells it."""

    epoch: int
    attempt: int
    status: StepStatus
    reason: str
    """Why it failed; empty otherwise."""
    error_path: str
    start_time: datetime
    end_time: datetime | None


@dataclass(frozen=True, slots=True)
class StepTimeline:
    """A piece of work with all attempts at it, in their order."""

    step: RunStep
    attempts: tuple[AttemptRecord, ...]


@dataclass(frozen=True, slots=True)
class RunPhase:
    """A stretch of a run's life in one status, and why it did not move in it, if it did not."""

    status: RunStatus
    stuck_reason: str
    start_time: datetime
    end_time: datetime | None = None


def phases(moments: Iterable[tuple[RunStatus, str, datetime]]) -> tuple[RunPhase, ...]:
    """Make phases of what a run was, and why it was stuck, from each of some moments on."""
    found: list[RunPhase] = []
    for status, stuck_reason, moment in moments:
        if found and (found[-1].status, found[-1].stuck_reason) == (status, stuck_reason):
            continue
        if found:
            found[-1] = replace(found[-1], end_time=moment)
        found.append(RunPhase(status, stuck_reason, moment))
    return tuple(found)
