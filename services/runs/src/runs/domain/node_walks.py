"""Arguments and results of the activities that run a graph's nodes. Their fields stay."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from runs.domain.activities import StepRef, Walk, Walked


@dataclass(frozen=True, slots=True)
class NodeWalk(Walk):
    """A node of a graph that is run once: the only one of `steps`."""

    item: int = 0
    """Which of the nodes that a Send started in one superstep, from 1; 0 when an edge did."""
    visit: int = 1
    state: dict[str, Any] = field(default_factory=dict[str, Any])
    """The state that the node gets: references and small values, at most 4 KiB."""
    answers: list[Any] = field(default_factory=list[Any])
    """The approvals that the node has asked for, and that are decided, in their order."""

    @property
    def node(self) -> str:
        return self.steps[0]

    @property
    def name(self) -> str:
        """Return the name within the run, which is also the activity's id."""
        return f"{self.node} {self.item}-{self.visit}"

    @property
    def work(self) -> StepRef:
        return self.ref(self.node, self.item)

    def ref(self, step: str, item: int = 0) -> StepRef:
        return StepRef(self.tenant_id, self.run_id, self.epoch, step, item, self.visit)


@dataclass(frozen=True, slots=True)
class NodeWalked(Walked):
    """What a node returned, once it has."""

    update: dict[str, Any] = field(default_factory=dict[str, Any])
    """The fields of the state that it sets; of the activity that begins a graph, all."""
    goto: list[Any] = field(default_factory=list[Any])
    question: Any = None
    """The approval that it asks for; it is to be run again once that is decided."""


def node_walked(walked: Walked) -> NodeWalked:
    """Return how far an activity came with a node, which may be no further than any walk."""
    if isinstance(walked, NodeWalked):
        return walked
    return NodeWalked(walked.more, walked.cancelled, walked.wait_ms, walked.attempts)
