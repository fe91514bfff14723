"""What an activity that walks has begun, and may leave to another."""

from __future__ import annotations

import asyncio
from dataclasses import astuple, dataclass, field
from typing import TYPE_CHECKING

from runs.domain.activities import Walk, Walked
from runs.domain.failures import RunClosed
from runs.domain.runs import RunStop
from runs.domain.transitions import StepAttempt
from runs.domain.waiting import WaitingNotes

if TYPE_CHECKING:
    from runs.domain.activities import StepRef
    from runs.worker.activities.run_stops import StopSignal


@dataclass(slots=True)
class Work:
    """A walk that is under way."""

    walk: Walk
    signal: StopSignal
    resumable: dict[StepRef, StepAttempt]
    """Attempts that another activity has begun, and this one is to go on with."""
    attempts: dict[StepRef, StepAttempt] = field(default_factory=dict["StepRef", StepAttempt])
    """Those that are being made."""
    waiting: WaitingNotes = field(default_factory=WaitingNotes)
    task: asyncio.Task[Walked] = field(init=False)

    @classmethod
    def of(cls, walk: Walk, signal: StopSignal) -> Work:
        """Return the work of a walk; its task is still to be set."""
        resumable = {
            walk.ref(walk.steps[place], item): StepAttempt(*numbers)
            for place, item, *numbers in walk.attempts
        }
        return cls(walk, signal, resumable)

    @property
    def position(self) -> str:
        """Return the steps that are being done, for people."""
        names = [str(ref) for ref in self.attempts]
        return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")

    def result(self) -> Walked:
        """Return how far it has come, now that it is over. Raises what it raised."""
        if not self.task.cancelled():
            return self.task.result()
        if self.signal.closed:
            raise RunClosed
        if self.signal.stop is RunStop.CANCEL:
            return Walked(cancelled=True)
        raise asyncio.CancelledError

    async def cancel(self) -> None:
        """Cancel it, and wait for its end."""
        if not self.task.cancelling():  # once: it may be about to end what it has begun
            self.task.cancel()
        await asyncio.wait({self.task})

    def encoded_attempts(self) -> list[list[int]]:
        """Return the attempts that are being made, as `Walked` has them."""
        return [
            [self.walk.steps.index(ref.step), ref.item, *astuple(attempt)]
            for ref, attempt in self.attempts.items()
        ]


def note_error(task: asyncio.Task[Walked]) -> None:
    """Take note of a task's error: whoever takes it over raises it, and if nobody does, it is done
    again.
    """
    if not task.cancelled():
        task.exception()
