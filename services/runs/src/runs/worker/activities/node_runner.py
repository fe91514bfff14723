"""Running one node of a graph in a process of its tenant, and committing what it returns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jsonvalues import parse
from nagaya_functions import FilePointer
from nagaya_functions.calls import FunctionContext
from nagaya_graphs.calls import NodeWork
from nagaya_graphs.nodes import INTERRUPT
from runs.domain.failures import StepImpossible
from runs.domain.outputs import FileDraft, output_name
from runs.domain.pipelines import INPUT
from runs.domain.transitions import StepOutcome
from runs.worker.activities.function import StepFiles
from runs.worker.activities.node_models import NodeModels
from runs.worker.function_host.call import FunctionCall

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jsonvalues import JsonValue
    from runs.domain.activities import StepRef
    from runs.domain.node_walks import NodeWalk
    from runs.domain.pipelines import StepSpec
    from runs.domain.transitions import StepAttempt
    from runs.peers.artifacts import Artifacts
    from runs.worker.activities.llm import LlmStepRunner
    from runs.worker.activities.run_context import RunContext
    from runs.worker.function_host.pool import FunctionPool
    from runs.worker.graphs import GraphRegistry

_MOST_LOST = 20


class NodeRunner:
    """Runs nodes of graphs."""

    def __init__(
        self,
        graphs: GraphRegistry,
        pool: FunctionPool,
        llm: LlmStepRunner,
        artifacts: Artifacts,
    ) -> None:
        self._graphs = graphs
        self._pool = pool
        self._llm = llm
        self._artifacts = artifacts

    async def run(
        self,
        context: RunContext,
        spec: StepSpec,
        walk: NodeWalk,
        answers: Sequence[JsonValue],
        attempt: StepAttempt,
    ) -> tuple[StepOutcome | None, JsonValue]:
        """Run a node; return the outcome of its step, and what the node returned.

        There is no outcome yet for a node that asks a person. Raises StepFailed, TimeoutError, what
        the services refuse, and whatever the node raises.
        """
        if attempt.lost_before >= _MOST_LOST:
            raise StepImpossible("WORKER_LOST", f"{_MOST_LOST} attempts were lost")
        if context.spec.graph is None:
            raise StepImpossible("GRAPH_NOT_FOUND", "the pipeline has no graph")
        graph = self._graphs.find(context.spec.graph.graph)
        ref = walk.work
        models = NodeModels(self._llm, context, spec, ref, attempt)
        call = FunctionCall(
            graph.entry_point,
            self._context(context, ref),
            spec.metrics,
            NodeWork(walk.node, walk.state, answers),
            models,
        )
        result = await self._pool.call(call, spec.timeout_seconds)
        returned: JsonValue = parse(result.data)
        if isinstance(returned, dict) and INTERRUPT in returned:
            return None, returned
        draft = _draft(ref, result.metrics)
        output = await self._artifacts.put(ref.tenant_id, draft, result.data)
        return StepOutcome(output, models.usage, models.prompt), returned

    def _context(self, context: RunContext, ref: StepRef) -> FunctionContext:
        given = context.run.input_file
        outputs = (
            {} if given is None else {INPUT: (FilePointer(given.output_path, given.output_digest),)}
        )
        return FunctionContext(
            tenant_id=ref.tenant_id,
            run_id=ref.run_id,
            step=ref.step,
            item=ref.item,
            visit=ref.visit,
            arguments={},
            outputs=outputs,
            mapped_steps=frozenset(),
            element=None,
            files=StepFiles(self._artifacts, ref),
        )


def _draft(ref: StepRef, metrics: Mapping[str, float]) -> FileDraft:
    return FileDraft(
        run_id=ref.run_id,
        step=ref.step,
        name=output_name(ref),
        item=ref.item,
        visit=ref.visit,
        metrics=metrics,
    )
