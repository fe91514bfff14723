"""Graphs by the names that pipelines use: those that are installed beside the worker."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from nagaya_graphs import ENTRY_POINT_GROUP
from nagaya_graphs.loading import GraphUnusable, load_graph
from nagaya_graphs.running import RunnableGraph
from runs.domain.failures import StepImpossible

if TYPE_CHECKING:
    from collections.abc import Mapping

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class InstalledGraph:
    """A graph of an installed distribution."""

    entry_point: str
    """`module:attribute`."""
    runnable: RunnableGraph


class GraphRegistry:
    """The graphs that pipelines can name. Their modules are imported when the worker starts.

    A workflow walks a graph in the worker's process, so its routes and reducers run there; its
    nodes do not.
    """

    def __init__(
        self, graphs: Mapping[str, InstalledGraph], unusable: Mapping[str, str] | None = None
    ) -> None:
        """`unusable`: for a name whose graph cannot be run, why."""
        self._graphs = graphs
        self._unusable = unusable or {}

    @classmethod
    def discover(cls) -> GraphRegistry:
        """Import the entry points of the group `nagaya.graphs`."""
        offers: dict[str, set[str]] = {}
        for entry_point in entry_points(group=ENTRY_POINT_GROUP):
            offers.setdefault(entry_point.name, set()).add(entry_point.value)
        graphs: dict[str, InstalledGraph] = {}
        unusable: dict[str, str] = {}
        for name, found in offers.items():
            try:
                graphs[name] = _load(found)
            except Exception as error:  # a graph's module may have any defect
                known = isinstance(error, GraphUnusable)
                why = str(error) if known else f"it cannot be imported ({type(error).__name__})"
                unusable[name] = why
                _log.warning(
                    "a graph cannot be used",
                    extra={"event": "graph.unusable", "graph": name, "why": why},
                )
        return cls(graphs, unusable)

    @property
    def nodes(self) -> Mapping[str, frozenset[str]]:
        """The nodes of each graph, by its name."""
        return {name: graph.runnable.nodes for name, graph in self._graphs.items()}

    def find(self, name: str) -> InstalledGraph:
        """Return a graph. Raises StepImpossible unless it is there and usable."""
        if name in self._unusable:
            raise StepImpossible("GRAPH_UNUSABLE", f"graph {name}: {self._unusable[name]}")
        graph = self._graphs.get(name)
        if graph is None:
            message = f"no graph {name} is installed beside the worker"
            raise StepImpossible("GRAPH_NOT_FOUND", message)
        return graph


def _load(offers: set[str]) -> InstalledGraph:
    if len(offers) > 1:
        raise GraphUnusable(f"several distributions offer one: {', '.join(sorted(offers))}")
    (entry_point,) = offers
    return InstalledGraph(entry_point, RunnableGraph(load_graph(entry_point)))
