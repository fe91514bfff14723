"""How far a walk has come, and why it stops."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from runs.domain.failures import StepImpossible
from runs.domain.outputs import BYTES_AT_ONCE, output_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from runs.domain.activities import StepRef, Walk
    from runs.domain.failures import StepFailed
    from runs.domain.pipelines import StepSpec
    from runs.domain.runs import Failure, OutputFile
    from runs.domain.transitions import StepAttempt, StepOutcome
    from runs.worker.activities.buffered_files import BufferedFiles
    from runs.worker.activities.run_context import RunContext
    from runs.worker.activities.run_stops import StopSignal

_UNRECORDED_SECONDS = 2.0
"""For how long at most short steps are done before they are recorded."""

_LONGEST_PAUSE_SECONDS = 60.0


class StepRetry(Exception):
    """An attempt at a step failed, and there is to be another one."""

    def __init__(self, failure: StepFailed, seconds: float) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.seconds = seconds


class InputRefused(Exception):
    """The input of the run cannot be committed."""

    def __init__(self, failure: StepFailed) -> None:
        super().__init__(failure.message)
        self.failure = failure


class StepGivenUp(Exception):
    """The last attempt at a step, or at one of its elements, failed."""

    def __init__(self, failure: StepFailed, ref: StepRef | None = None) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.ref = ref
        """The step or element, where an attempt at it has just failed."""


@dataclass(slots=True)
class WalkState:
    """What is known of a walk: it can be asked for at any time."""

    walk: Walk
    context: RunContext
    signal: StopSignal
    """Tells whether the run is to stop: then no step begins."""
    attempts: dict[StepRef, StepAttempt] = field(default_factory=dict["StepRef", "StepAttempt"])
    """Attempts that have begun and are not recorded as ended."""
    resumable: dict[StepRef, StepAttempt] = field(default_factory=dict["StepRef", "StepAttempt"])
    """Attempts that another activity has begun, and this one is to go on with."""
    done: dict[StepRef, OutputFile | None] = field(
        default_factory=dict["StepRef", "OutputFile | None"]
    )
    failed: dict[StepRef, Failure] = field(default_factory=dict["StepRef", "Failure"])
    """Those whose attempts are used up."""
    left_out: set[StepRef] = field(default_factory=set["StepRef"])
    """Elements that are not done, since what they come after has failed."""
    begins_run: bool = False
    """Whether the run is to begin with the first record of the walk."""

    def next(self, element: ElementState) -> StepRef | None:
        """Return an element's first step that is not done; None after one that has failed."""
        return self._next(element.item, element.has)

    def is_left(self, item: int) -> bool:
        """Return whether there is something to do for an element."""
        return self._next(item, lambda _: False) is not None

    def given_up(self, item: int) -> StepGivenUp | None:
        """Return which step of an element has failed, and why; None if none has."""
        for step in self.walk.steps:
            ref = self.walk.ref(step, item)
            if ref in self.failed:
                failure = self.failed[ref]
                return StepGivenUp(StepImpossible(failure.reason, failure.message), ref)
        return None

    def _next(self, item: int, has: Callable[[StepRef], bool]) -> StepRef | None:
        for step in self.walk.steps:
            ref = self.walk.ref(step, item)
            if ref in self.failed or ref in self.left_out:
                return None
            # A mapped step that has come to its end as a whole is done for all of its elements.
            if ref not in self.done and self.walk.ref(step) not in self.done and not has(ref):
                return ref
        return None

    def set_input(self, file: OutputFile) -> None:
        """Note where the run's input is."""
        self.context = replace(self.context, run=replace(self.context.run, input_file=file))


@dataclass(slots=True)
class ElementState:
    """One element's way through the steps: what of it is not recorded yet."""

    item: int
    files: BufferedFiles
    since: float
    input: OutputFile | None = None
    ended: list[tuple[StepRef, StepAttempt, StepOutcome]] = field(
        default_factory=list["tuple[StepRef, StepAttempt, StepOutcome]"]
    )
    whole: list[tuple[StepRef, StepOutcome]] = field(
        default_factory=list["tuple[StepRef, StepOutcome]"]
    )
    cautious: bool = False
    """Whether each step's files are committed at once, since some had been committed before."""

    def has(self, ref: StepRef) -> bool:
        return any(ref == each[0] for each in (*self.ended, *self.whole))

    def valid(self) -> list[tuple[StepRef, StepOutcome]]:
        """Return the short steps before the first that is void, with their files as committed.

        A step is void if its file is refused or dropped, if it has worked with a file of its own
        that is not the committed one, or if it comes after one whose output is not the committed
        one.
        """
        replaced = {draft.step: draft.name for draft in self.files.replaced.values()}
        void = {draft.step for draft, _ in self.files.refused.values()}
        void |= {draft.step for draft in self.files.dropped.values()}
        kept: list[tuple[StepRef, StepOutcome]] = []
        for ref, outcome in self.whole:
            name = replaced.get(ref.step)
            own_file = name is not None and name != output_name(ref)
            if own_file or ref.step in void:
                return kept
            output = outcome.output
            if output is not None:
                committed = self.files.committed.get(output.output_path, output)
                output = replace(committed, values=output.values)
            kept.append((ref, replace(outcome, output=output)))
            if name is not None:
                return kept
        return kept

    def clear(self, now: float) -> None:
        """Note that all is recorded."""
        self.input, self.ended, self.whole, self.since = None, [], [], now

    def is_due(self, now: float) -> bool:
        return self.files.size > BYTES_AT_ONCE or now > self.since + _UNRECORDED_SECONDS


def pause(spec: StepSpec, failure: StepFailed, failures: int) -> float:
    """Return the seconds to the next attempt: the step's backoff, or more where that is in vain.

    The backoff doubles with each failure, up to a minute, or its first if that is longer.
    """
    first = spec.retry.backoff_ms / 1_000
    doubled = first * 2 ** min(failures - 1, 16)
    return max(failure.wait_seconds, min(doubled, max(first, _LONGEST_PAUSE_SECONDS)))
