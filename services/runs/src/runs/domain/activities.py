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

    @property
    def run(self) -> RunRef:
        return RunRef(self.tenant_id, self.run_id, self.epoch)

    @property
    def name(self) -> str:
        """Return the name within the run, which is also the activity's id."""
        return f"{self.step} {self.item}-{self.visit}"

    def __str__(self) -> str:
        element = f" #{self.item}" if self.item else ""
        return f"{self.step}{element}"


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
class RunEnd:
    """How a run ended, as its workflow saw it."""

    tenant_id: str
    run_id: str
    epoch: int
    status: str
    reason: str = ""
    message: str = ""
