"""Which runs of a tenant."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from runs.domain.runs import RunStatus


@dataclass(frozen=True, slots=True)
class RunFilter:
    """The runs that everything given here is true of."""

    pipeline: str = ""
    statuses: frozenset[RunStatus] = frozenset()
    """One of these; any when empty."""
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    """All of these."""
    created_from: datetime | None = None
    created_before: datetime | None = None
    least_micro_usd: int = 0
    most_micro_usd: int | None = None
