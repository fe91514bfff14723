"""Transitions of a run and its steps: what begins and ends at one moment, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import timedelta

    from runs.domain.activities import StepRef
    from runs.domain.generation import CallUsage
    from runs.domain.prompts import PromptVersion
    from runs.domain.runs import OutputFile, RunStatus, RunStop


@dataclass(frozen=True, slots=True)
class StepAttempt:
    """An attempt at a step that has begun."""

    row_id: int
    attempt: int
    failed_before: int
    """How many attempts before it failed, in this epoch of the run."""
    lost_before: int
    """How many attempts before it ended without a result, in this epoch of the run."""
    call: int = 1
    """The number of the step's model call in its key."""


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """What a completed step leaves: its output; of an llm step also the prompt and the usage.

    Without an output the step was skipped.
    """

    output: OutputFile | None = None
    usage: CallUsage | None = None
    prompt: PromptVersion | None = None


@dataclass(frozen=True, slots=True)
class Transitions:
    """What happens to one run at one moment; its events have the order of these fields.

    No step, item and visit occurs twice in it.
    """

    input: OutputFile | None = None
    """Begins the run with this input, if it is pending."""
    ended: tuple[tuple[StepRef, StepAttempt, StepOutcome], ...] = ()
    """Attempts that have completed."""
    whole: tuple[tuple[StepRef, StepOutcome], ...] = ()
    """Short steps, which begin and complete at once."""
    begun: tuple[StepRef, ...] = ()
    """Steps of which an attempt begins."""
    completes_run: bool = False
    """Ends the run as completed, if all of `ended` and `whole` took effect."""


@dataclass(frozen=True, slots=True)
class Advanced:
    """Which transitions took effect, each in the place of its transition."""

    run_status: RunStatus | None
    """The run's status afterwards; None if there is no such run of this epoch."""
    ended: tuple[bool, ...]
    """False where another attempt has replaced the one that ended, or the run is closed."""
    whole: tuple[bool, ...]
    """False where the step was done before, or the run is closed for it."""
    begun: tuple[StepAttempt | None, ...]
    """None where the step is done, or the run is closed for it or told to stop."""
    stop: RunStop | None = None
    """What the run is told to stop for: nothing begins then."""
    completed: tuple[str, timedelta] | None = field(default=None, compare=False)
    """The run's pipeline and how long it took, where these transitions have completed it."""
    others_wait: bool = field(default=False, compare=False)
    """Whether these have completed the run, and others of the tenant wait for their turn."""
