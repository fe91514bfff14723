"""Steps of a run, and items of mapped steps."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from runs.domain.runs import Failure, OutputFile


class StepStatus(StrEnum):
    """As the column `steps.status` holds it."""

    RUNNING = "running"
    WAITING = "waiting"
    COMPLETED = "completed"
    SKIPPED = "skipped"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        return self in _FINAL


_FINAL = frozenset(
    {StepStatus.COMPLETED, StepStatus.SKIPPED, StepStatus.FAILED, StepStatus.CANCELLED}
)


@dataclass(frozen=True, slots=True)
class RunStep:
    """A step of a run, or one item of a mapped step, as its row tells it."""

    step: str
    item: int
    """Which element of a map, from 1 on; 0 when there is none."""
    visit: int
    """Which pass of a loop; 1 when there is none."""
    status: StepStatus
    retry_count: int
    llm_model: str
    model_rule: str
    input_tokens: int
    output_tokens: int
    cost_micro_usd: int
    prompt_version: int
    prompt_digest: str
    output: OutputFile | None
    error: Failure | None
    start_time: datetime | None
    end_time: datetime | None
    call: int = 1
    """The number of its model call in the call's key."""
    reused: bool = False
    """Whether it was taken over from the run that this one was forked from."""
