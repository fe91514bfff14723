"""What a pipeline says of its graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jsonvalues import JsonMapping


@dataclass(frozen=True, slots=True)
class NodeStep:
    """A node of the pipeline's graph that asks no model."""


@dataclass(frozen=True, slots=True)
class GraphSpec:
    """A graph that is installed beside the workers."""

    graph: str
    """An entry point of the group `nagaya.graphs`."""
    arguments: JsonMapping
    """Fields of the state that it begins with."""
    recursion_limit: int
    """The most supersteps."""
