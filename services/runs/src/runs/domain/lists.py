"""The lists that steps are mapped over, and how the elements of one belong to another's.

A step that is mapped over a mapped step, without a pointer, goes through the same list as that one:
its elements are that step's outputs, and have the same numbers. With a pointer it goes through the
lists in that step's outputs, one after another: a list within a list.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from runs.domain.pipelines import StepSpec

MAP_LIMIT = 5_000
"""The most elements that a step is mapped over: what names their outputs is one file."""


class MappedOver(NamedTuple):
    """A list, by the step whose output holds it, or whose elements' outputs do, and where."""

    step: str
    json_pointer: str


class Relation(StrEnum):
    """How the list of another step is related to that of a mapped step."""

    SAME = "same"
    """They are mapped over the same list."""
    OUTER = "outer"
    """The other's list is the outer one: each of its elements holds several of this one's."""
    INNER = "inner"
    """The other's list is inside of this one."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many elements of an inner list belong to each element of the outer one."""

    ends: tuple[int, ...]
    """By the outer element: the number of the last one that belongs to it or to those before."""

    @classmethod
    def of(cls, sizes: Sequence[int]) -> Sizes:
        return cls(tuple(accumulate(sizes)))

    @property
    def count(self) -> int:
        return self.ends[-1] if self.ends else 0

    def outer(self, item: int) -> tuple[int, int]:
        """Return the outer element that an element belongs to, and its place there, from 0 on."""
        outer = bisect_left(self.ends, item)
        return outer + 1, item - 1 - (self.ends[outer - 1] if outer else 0)

    def inner(self, outer: int) -> range:
        """Return the elements that belong to an outer one."""
        if outer > len(self.ends):
            return range(0)
        return range((self.ends[outer - 2] if outer > 1 else 0) + 1, self.ends[outer - 1] + 1)


class Steps(dict[str, "StepSpec"]):
    """Steps by name. They remember what was found out about their lists, since a pipeline may have
    thousands of needs.
    """

    def __init__(self, steps: Iterable[StepSpec]) -> None:
        """Of several of one name the first counts."""
        super().__init__()
        for step in steps:
            self.setdefault(step.step, step)
        self._roots: dict[str, str] = {}

    def root(self, step: str) -> str:
        """Return the step whose list a mapped step goes through: itself, or one it maps over."""
        passed: list[str] = []
        while step not in self._roots and step not in passed:
            passed.append(step)
            over = self[step].map
            if over is None or over.json_pointer or not self._is_mapped(over.step):
                break
            step = over.step
        found = self._roots.get(step, step)
        self._roots |= dict.fromkeys(passed, found)
        return found

    def list_of(self, step: str) -> MappedOver | None:
        """Return the list that a step goes through; None if it is not mapped, or is no step."""
        if not self._is_mapped(step):
            return None
        over = self[self.root(step)].map
        return None if over is None else MappedOver(over.step, over.json_pointer)

    def relation(self, step: str, other: str) -> Relation | None:
        """Return how the list of another step is related to a step's; None if it is not."""
        own, others = self.list_of(step), self.list_of(other)
        if own is None or others is None:
            return None
        if own == others:
            return Relation.SAME
        if self.list_of(own.step) == others:
            return Relation.OUTER
        return Relation.INNER if self.list_of(others.step) == own else None

    def _is_mapped(self, step: str) -> bool:
        return step in self and self[step].map is not None
