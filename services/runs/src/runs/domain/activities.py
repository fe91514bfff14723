"""Arguments and results of activities. Their fields stand in histories, so they stay."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class RunRef:
    """A run in one epoch: a workflow of an earlier epoch changes nothing any more."""

    tenant_id: str
    run_id: str
    epoch: int


@dataclass(frozen=True, slots=True)
class StepRef:
    """A step of a run, or one item of a mapped step. Attempts are counted in the database."""

    tenant_id: str
    run_id: str
    epoch: int
    step: str
    item: int = 0
    """Which element of a map, from 1 on; 0 without a map, and for the mapped step as a whole."""
    visit: int = 1
    """Which pass of a loop; 1 without a loop."""
    looped: bool = field(default=False, compare=False)
    """Whether the step is in a loop, as far as whoever made this knows."""

    @property
    def run(self) -> RunRef:
        return RunRef(self.tenant_id, self.run_id, self.epoch)

    @property
    def name(self) -> str:
        """Return the name within the run, which is also the activity's id."""
        return f"{self.step} {self.item}-{self.visit}"

    def __str__(self) -> str:
        element = f" #{self.item}" if self.item else ""
        visit = f" /{self.visit}" if self.visit > 1 else ""
        return f"{self.step}{element}{visit}"


@dataclass(frozen=True, slots=True)
class StepResult:
    """The output of a step; empty when its condition was false."""

    output_path: str = ""
    output_digest: str = ""
    summary: str = ""
    metrics: dict[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True, slots=True)
class MappedList:
    """The list that a step is mapped over: the digest of the file that holds it, and its length.

    `skipped` when the step's condition was false.
    """

    digest: str = ""
    count: int = 0
    skipped: bool = False


@dataclass(frozen=True, slots=True)
class Walk:
    """Steps of a run that are done one after another: once, or for some elements of a list."""

    tenant_id: str
    run_id: str
    epoch: int
    steps: list[str]
    first: int = 0
    last: int = 0
    """The elements, from `first` to `last`; both 0 where the steps are not mapped, and where the
    mapped steps as a whole are meant."""
    short: bool = False
    """Whether all the steps are short."""
    begins_run: bool = False
    """Whether nothing else of the run may begin it."""
    completes_run: bool = False
    """Whether nothing else of the run is left to do."""
    attempts: list[list[int]] = field(default_factory=list[list[int]])
    """Attempts to go on with, as `Walked` has them."""
    visit: int = 0
    """Which pass of a loop; 0 where the steps are in none."""
    at_once: int = 0
    """How many elements are done at once; as many as usual when 0."""

    @property
    def run(self) -> RunRef:
        return RunRef(self.tenant_id, self.run_id, self.epoch)

    @property
    def name(self) -> str:
        """Return the name within the run, which is also the activity's id."""
        elements = f" {self.first}-{self.last}" if self.first else ""
        visit = f" /{self.visit}" if self.visit else ""
        return f"{self.steps[0]}{elements}{visit}"

    def ref(self, step: str, item: int = 0) -> StepRef:
        run = (self.tenant_id, self.run_id, self.epoch)
        return StepRef(*run, step, item, self.visit or 1, looped=self.visit > 0)


@dataclass(frozen=True, slots=True)
class Walked:
    """How far an activity came with a walk."""

    more: bool = False
    """Whether another activity has to go on: this one was to be over soon."""
    cancelled: bool = False
    """Whether it stopped since the run is being cancelled."""
    wait_ms: int = 0
    """How long to wait before: a step has failed, and is to be tried again then."""
    attempts: list[list[int]] = field(default_factory=list[list[int]])
    """The attempts that are being made, each by the place of its step in the walk, its element, and
    the four numbers of `StepAttempt`."""
    count: int = 0
    """How long the list is that the steps are mapped over, once it is known."""
    skipped: bool = False
    """Whether the mapped steps are skipped: their condition was false."""
    again: bool = False
    """Whether another visit of a loop begins."""
    waiting: bool = False
    """Whether a step waits for a person: for `wait_ms` at most, without end where that is 0."""


@dataclass(frozen=True, slots=True)
class RunEnd:
    """How a run ended, as its workflow saw it."""

    tenant_id: str
    run_id: str
    epoch: int
    status: str
    reason: str = ""
    message: str = ""
    step: str = ""
    """Where it failed, if the workflow knows: a loop that has to end, whose steps are all done."""
    visit: int = 1
