"""Running a graph's nodes: each time one is run is a step of the run, with its row and attempts."""

from __future__ import annotations

from dataclasses import astuple, replace
from typing import TYPE_CHECKING

from nagaya_functions import FilePointer, StepError
from nagaya_graphs.loading import INPUT
from nagaya_graphs.nodes import INTERRUPT
from nagaya_graphs.results import NodeResult
from nagaya_graphs.state import encode_state, encode_value
from runs.domain.activities import StepRef
from runs.domain.failures import RunClosed, StepFailed, StepImpossible
from runs.domain.graphs import node_spec
from runs.domain.node_walks import NodeWalk, NodeWalked
from runs.domain.outputs import parse_json
from runs.domain.transitions import Transitions
from runs.worker.activities.retries import retry_transient
from runs.worker.activities.run_stops import RunStopping
from runs.worker.activities.walk_state import StepGivenUp, StepRetry, pause
from runs.worker.functions import to_step_failure
from runs.worker.metrics import NODE, step_measured
from servicekit.call import on_behalf_of

if TYPE_CHECKING:
    from jsonvalues import JsonValue
    from runs.domain.activities import RunRef
    from runs.domain.runs import OutputFile, RunStatus
    from runs.domain.transitions import StepAttempt
    from runs.peers.artifacts import Artifacts
    from runs.worker.activities.admission import WorkerSlots
    from runs.worker.activities.journal import Journal
    from runs.worker.activities.node_runner import NodeRunner
    from runs.worker.activities.run_context import RunContext
    from runs.worker.activities.run_initializer import RunInitializer
    from runs.worker.activities.step_runner import StepRunner
    from runs.worker.graphs import GraphRegistry

_REPLACED_SECONDS = 5.0
"""So long that Temporal decides whether the activity whose attempt was replaced goes on."""


class NodeWalker:
    """Runs nodes of graphs, and begins the graphs."""

    def __init__(
        self,
        graphs: GraphRegistry,
        initializer: RunInitializer,
        nodes: NodeRunner,
        steps: StepRunner,
        artifacts: Artifacts,
        journal: Journal,
        slots: WorkerSlots,
    ) -> None:
        self._graphs = graphs
        self._initializer = initializer
        self._nodes = nodes
        self._steps = steps
        self._artifacts = artifacts
        self._journal = journal
        self._slots = slots

    async def begin(self, run: RunRef) -> dict[str, JsonValue]:
        """Begin a run; return the state that its graph begins with.

        Raises StepGivenUp, RunClosed, and ApplicationError for the run's input.
        """
        context = await self._initializer.initialize(run)
        if context.spec.graph is None:
            raise RunClosed
        try:
            runnable = self._graphs.find(context.spec.graph.graph).runnable
            state = encode_state(context.spec.graph.arguments)
        except StepFailed as failure:
            raise StepGivenUp(failure) from None
        except StepError as error:
            raise StepGivenUp(to_step_failure(error)) from None
        file = context.run.input_file
        if file is not None and INPUT in runnable.fields:
            state[INPUT] = encode_value(INPUT, FilePointer(file.output_path, file.output_digest))
        return state

    async def walk(
        self,
        walk: NodeWalk,
        resumable: dict[StepRef, StepAttempt],
        attempts: dict[StepRef, StepAttempt],
    ) -> NodeWalked:
        """Run a node, unless it was; return what it returned.

        `resumable` and `attempts` are as for ChainWalker.walk. Raises StepRetry, StepGivenUp,
        TenantShareTaken, RunStopping and RunClosed.
        """
        context = await self._initializer.initialize(walk.run)
        ref = walk.work
        with (
            on_behalf_of(tenant_id=walk.tenant_id, user_id=context.run.user_id),
            self._slots.hold(walk.tenant_id),
        ):
            attempt = resumable.pop(ref, None)
            if attempt is None:
                transitions = Transitions(begun=(ref,))
                advanced = await retry_transient(
                    lambda: self._journal.advance(walk.run, transitions)
                )
                attempt = advanced.begun[0]
                if attempt is None and advanced.stop is not None:
                    raise RunStopping
                if attempt is None:
                    return _walked(await self._find(ref, advanced.run_status))
            attempts[ref] = attempt
            walked = _walked(await self._run(context, walk, ref, attempt))
            attempts.pop(ref, None)
        if walked.question is not None:  # the attempt goes on once there is an answer
            return replace(walked, attempts=[[0, ref.item, *astuple(attempt)]])
        return walked

    async def _run(
        self, context: RunContext, walk: NodeWalk, ref: StepRef, attempt: StepAttempt
    ) -> JsonValue:
        spec = node_spec(context.spec, walk.node)
        try:
            answers = await self._answers(walk)
            with step_measured(NODE):
                outcome, returned = await retry_transient(
                    lambda: self._nodes.run(context, spec, walk, answers, attempt)
                )
        except Exception as error:
            failure, final = await self._steps.record_failure(spec, ref, attempt, error)
            if final:
                raise StepGivenUp(failure) from None
            raise StepRetry(failure, pause(spec, failure, attempt.failed_before + 1)) from None
        if outcome is None:
            return returned
        transitions = Transitions(ended=((ref, attempt, outcome),))
        advanced = await retry_transient(lambda: self._journal.advance(walk.run, transitions))
        return returned if advanced.ended[0] else await self._find(ref, advanced.run_status)

    async def _answers(self, walk: NodeWalk) -> list[JsonValue]:
        """Return the decisions that a node has asked for, which are the outputs of approvals."""
        refs = [StepRef(*_key(walk), approval, 0, walk.visit) for approval in walk.answers]
        ended = await retry_transient(lambda: self._journal.ended(walk.run, refs))
        found = {(ref.step, ref.visit): output for ref, output in ended.done.items()}
        return [await self._read(walk.run, found.get((ref.step, ref.visit))) for ref in refs]

    async def _find(self, ref: StepRef, status: RunStatus | None) -> JsonValue:
        """Return what a node has returned before. Raises RunClosed, StepGivenUp and StepRetry."""
        ended = await retry_transient(lambda: self._journal.ended(ref.run, [ref]))
        if ref in ended.failed:
            failure = ended.failed[ref]
            raise StepGivenUp(StepImpossible(failure.reason, failure.message))
        output = ended.done.get(ref)
        if output is None:
            if status is None or status.final:
                raise RunClosed
            replaced = StepFailed("ATTEMPT_REPLACED", "another attempt has taken over")
            raise StepRetry(replaced, _REPLACED_SECONDS)
        return await self._read(ref.run, output)

    async def _read(self, run: RunRef, output: OutputFile | None) -> JsonValue:
        if output is None:
            return None
        pointer = FilePointer(output.output_path, output.output_digest)
        (data,) = await retry_transient(lambda: self._artifacts.read(run.tenant_id, [pointer]))
        return parse_json(data)


def _key(walk: NodeWalk) -> tuple[str, str, int]:
    return walk.tenant_id, walk.run_id, walk.epoch


def _walked(returned: JsonValue) -> NodeWalked:
    if isinstance(returned, dict) and INTERRUPT in returned:
        return NodeWalked(question=returned[INTERRUPT])
    result = NodeResult.parse(returned)
    return NodeWalked(update=dict(result.update), goto=list(result.goto))
