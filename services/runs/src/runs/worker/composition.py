"""The objects of the worker, each with exactly what it uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runs.domain.installed import Installed
from runs.worker.activities.approvals import ApprovalWalker
from runs.worker.activities.chain_walk import ChainWalker
from runs.worker.activities.element_walk import ElementWalker
from runs.worker.activities.error_files import ErrorFiles
from runs.worker.activities.function import FunctionStepRunner
from runs.worker.activities.journal import Journal
from runs.worker.activities.llm import LlmStepRunner
from runs.worker.activities.loop_ends import LoopEnds
from runs.worker.activities.map_ends import MapEnds
from runs.worker.activities.map_failures import MapFailures
from runs.worker.activities.next_runs import leave_to_relays
from runs.worker.activities.node_runner import NodeRunner
from runs.worker.activities.node_walk import NodeWalker
from runs.worker.activities.reuse import StepReuser
from runs.worker.activities.run_context import RunContextCache
from runs.worker.activities.run_initializer import RunInitializer
from runs.worker.activities.run_stops import RunStops
from runs.worker.activities.runs import RunActivities
from runs.worker.activities.step_inputs import StepInputFinder
from runs.worker.activities.step_runner import StepRunner
from runs.worker.activities.walk import WalkActivities
from runs.worker.superseded.activities import StepActivities

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dataplane.tenants import DataPlane
    from runs.peers.artifacts import Artifacts
    from runs.peers.llm_gateway import LlmGateway
    from runs.worker.activities.admission import WorkerSlots
    from runs.worker.activities.next_runs import StartNext
    from runs.worker.function_host.pool import FunctionPool
    from runs.worker.functions import FunctionRegistry
    from runs.worker.graphs import GraphRegistry


@dataclass(frozen=True, slots=True)
class InstalledCode:
    """What is installed beside the worker."""

    functions: FunctionRegistry
    graphs: GraphRegistry

    def installed_for(self, tenants: frozenset[str]) -> Installed:
        """Return what a worker can do that does runs of these tenants, or of all when empty."""
        return Installed(tenants, frozenset(self.functions.names), self.graphs.nodes)


@dataclass(frozen=True, slots=True)
class Activities:
    """The activities that the workflows call."""

    runs: RunActivities
    walks: WalkActivities
    steps: StepActivities
    """Those of workflows before version 4."""

    @property
    def all(self) -> Sequence[Callable[..., object]]:
        runs, walks, steps = self.runs, self.walks, self.steps
        return [
            runs.begin_run,
            runs.end_run,
            walks.walk,
            walks.open_maps,
            walks.close_maps,
            walks.end_visit,
            walks.walk_approval,
            walks.begin_graph,
            walks.run_node,
            steps.run_step,
            steps.run_short_step,
            steps.open_map,
            steps.close_map,
        ]


def make_activities(
    data: DataPlane,
    artifacts: Artifacts,
    gateway: LlmGateway,
    code: InstalledCode,
    pool: FunctionPool,
    slots: WorkerSlots,
    start_next: StartNext = leave_to_relays,
) -> Activities:
    """Make the activities of a worker."""
    tenants = data.tenants
    journal = Journal(tenants, start_next)
    contexts = RunContextCache(tenants)
    data.directory.on_change(contexts.forget)
    reuser = StepReuser(tenants, artifacts)
    initializer = RunInitializer(journal, contexts, artifacts, reuser)
    input_finder = StepInputFinder(tenants)
    llm = LlmStepRunner(contexts, gateway, artifacts)
    functions = FunctionStepRunner(code.functions, pool)
    runner = StepRunner(input_finder, llm, functions, journal, ErrorFiles(artifacts))
    node_runner = NodeRunner(code.graphs, pool, llm, artifacts)
    nodes = NodeWalker(code.graphs, initializer, node_runner, runner, artifacts, journal, slots)
    elements = ElementWalker(contexts, initializer, input_finder, artifacts, runner, journal, slots)
    failures = MapFailures(tenants, input_finder.elements, journal)
    chains = ChainWalker(contexts, initializer, input_finder, journal, elements, failures, slots)
    maps = MapEnds(
        tenants, contexts, initializer, input_finder, artifacts, runner, failures, journal
    )
    loops = LoopEnds(initializer, input_finder, artifacts)
    approvals = ApprovalWalker(tenants, initializer, input_finder, artifacts, runner, journal)
    return Activities(
        RunActivities(data, journal, contexts, initializer, gateway),
        WalkActivities(chains, maps, loops, approvals, nodes, slots, RunStops(tenants)),
        StepActivities(tenants, journal, initializer, input_finder, artifacts, runner),
    )
