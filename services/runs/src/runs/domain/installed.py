"""What is installed beside workers, and what a pipeline needs of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


def queue_name(common: str, own: str) -> str:
    """Return the name in Temporal of a pipeline's own task queue, or the common one's."""
    return f"{common}/{own}" if own else common


@dataclass(frozen=True, slots=True)
class Installed:
    """What one worker can do."""

    tenants: frozenset[str]
    """The only tenants whose runs it does; those of all when empty."""
    functions: frozenset[str]
    graphs: Mapping[str, frozenset[str]]
    """The nodes of each graph, by its name."""

    def takes(self, tenant_id: str) -> bool:
        return not self.tenants or tenant_id in self.tenants


@dataclass(frozen=True, slots=True)
class WorkerSteps:
    """How many steps one worker does at once, and for whom."""

    tenants: frozenset[str]
    """The only ones whose runs it does; all when empty."""
    task_queue: str
    """The pipelines' own task queue that it serves; empty for the common one."""
    steps: int
    tenant_share: int
    """The most that one tenant holds of them, in percent of what the others leave."""


@dataclass(frozen=True, slots=True)
class CodeNeeds:
    """What a pipeline's version needs beside the workers that do its runs."""

    task_queue: str = ""
    """The pipeline's own task queue; empty for the common one."""
    functions: Mapping[str, str] = field(default_factory=dict[str, str])
    """The function of each function step, by the step."""
    graph: str = ""
    nodes: Sequence[str] = ()
    """The nodes that its steps are about."""

    def faults(self, tenant_id: str, workers: Sequence[Installed]) -> Iterator[tuple[str, str]]:
        """Yield what is missing, as the field of the pipeline and what is wrong there.

        No name is told but those that the pipeline has: what else is installed may be somebody
        else's.
        """
        able = [worker for worker in workers if worker.takes(tenant_id)]
        if self.task_queue and not able:
            yield "task_queue", f"no worker of task queue {self.task_queue} does this tenant's runs"
            return
        if self.graph:
            yield from self._graph_faults(able)
        if not able:
            return  # nobody knows: a step finds out once it begins
        known = frozenset[str]().union(*(worker.functions for worker in able))
        for step, function in self.functions.items():
            if function not in known:
                fault = f"no function {function} is installed beside a worker"
                yield f'steps["{step}"].function', fault

    def _graph_faults(self, able: Sequence[Installed]) -> Iterator[tuple[str, str]]:
        found = [worker.graphs[self.graph] for worker in able if self.graph in worker.graphs]
        if not found:
            yield "graph.graph", f"no graph {self.graph} is installed beside a worker"
            return
        known = frozenset[str]().union(*found)
        for node in self.nodes:
            if node not in known:
                yield f'steps["{node}"]', f"graph {self.graph} has no node {node}"
