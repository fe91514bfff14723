"""How many runs tenants may have under way at once beside each other, on one task queue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

NoteDemand: TypeAlias = Callable[[str, str, int], None]
"""Is told how many runs a tenant would have under way on a task queue."""


@dataclass(frozen=True, slots=True)
class RunDemand:
    """How many runs a tenant would have under way on a task queue."""

    tenant_id: str
    runs: int
    weight: float

    @property
    def level(self) -> float:
        """How many that is for each unit of the tenant's weight."""
        return self.runs / self.weight


def share(room: int, weight: float, others: Iterable[RunDemand]) -> int:
    """Return how many runs a tenant may have under way that wants all of the room; at least one.

    Max-min fairness: whoever wants less than its part gets what it wants, and the rest is divided
    by weight among those that want more. `others` come by their level, the lowest first.
    """
    others = list(others)
    left, weights = float(room), weight + sum(other.weight for other in others)
    for other in others:
        if other.level >= left / weights:
            break
        left -= other.runs
        weights -= other.weight
    return max(1, int(left * weight / weights))


def note_nothing(_tenant_id: str, _task_queue: str, _runs: int) -> None:
    """Leave it to relays to find how many runs a tenant has to do."""
