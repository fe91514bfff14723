"""Steering many runs at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runs.domain.run_filters import RunFilter
    from runs.domain.runs import Failure, Retry, Run, RunOperation


@dataclass(frozen=True, slots=True)
class Bulk:
    """What BulkRuns asks for: a page of the runs that a filter names."""

    wanted: RunFilter
    operation: RunOperation
    retry: Retry
    """How a run is retried, where that is the operation."""
    dry_run: bool
    page_size: int
    page_token: str


@dataclass(frozen=True, slots=True)
class BulkResult:
    """What became of one of the runs."""

    run: Run
    refusal: Failure | None = None
    """Why it was not steered; None if it was, or would be."""


@dataclass(frozen=True, slots=True)
class BulkPage:
    """Which runs a call was for, newest first."""

    results: tuple[BulkResult, ...]
    next_token: str
