"""Metrics: numbers in the output of a step, for conditions and for people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jsonvalues import fits_int64

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Metrics:
    """Numbers by name, as they are carried and stored."""

    whole: Mapping[str, int]
    """Each number that fits into 64 bits, rounded."""
    fractional: Mapping[str, float]
    """Those that are no whole numbers of 64 bits, as they are."""

    @classmethod
    def of(cls, numbers: Mapping[str, float]) -> Metrics:
        rounded = {name: round(number) for name, number in numbers.items()}
        return cls(
            {name: number for name, number in rounded.items() if fits_int64(number)},
            {name: number for name, number in numbers.items() if isinstance(number, float)},
        )
