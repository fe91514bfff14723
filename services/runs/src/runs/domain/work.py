"""Pieces of work: what a workflow asks its activities to do, and what they answer."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class RunRef:
    """A run, as its workflow names it. The epoch fences off workflows that have been replaced."""

    tenant_id: str
    run_id: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Work:
    """A piece of work: (run, step, item, visit). Attempts are counted in the database."""

    tenant_id: str
    run_id: str
    epoch: int
    step: str
    item: int = 0
    visit: int = 1

    @property
    def run(self) -> RunRef:
        return RunRef(self.tenant_id, self.run_id, self.epoch)

    @property
    def name(self) -> str:
        """Return what the piece of work is called within its run."""
        return f"{self.step} {self.item}-{self.visit}"

    def __str__(self) -> str:
        element = f" #{self.item}" if self.item else ""
        return f"{self.step}{element}"


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a piece of work left behind. Nothing when its condition was false."""

    output_path: str = ""
    output_digest: str = ""
    summary: str = ""
    metrics: dict[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True, slots=True)
class Listing:
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
