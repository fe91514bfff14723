"""How much of the workers a tenant gets beside others, and how fast its runs start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class TenantLimits:
    """What a tenant gets; these are the usual ones."""

    weight: float = 1.0
    """Of two tenants that want all they can get, one of weight 2 holds twice the slots."""
    max_steps: int = 0
    """The most steps that one worker does at once; its share when 0."""
    starts_per_minute: int = 0
    """How many runs start in a minute at most; any number when 0."""


USUAL = TenantLimits()

LimitsOf: TypeAlias = Callable[[str], TenantLimits]
"""Says which limits a tenant has."""


def usual_limits(_: str) -> TenantLimits:
    """Return what every tenant has for whom nothing else was set."""
    return USUAL
