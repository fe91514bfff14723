"""Scheduling the activities of a run whose pipeline is a graph.

The graph is walked by LangGraph inside the workflow, so that its state is rebuilt by a replay like
everything else of the workflow. A node that calls `interrupt` waits here and not in LangGraph,
whose own interrupts get other ids with each replay.
"""

# Temporal leaves the types of functions for workflows open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from temporalio import workflow
from temporalio.exceptions import ApplicationError, FailureError
from temporalio.exceptions import is_cancelled_exception as is_cancelled
from temporalio.worker import Interceptor

from nagaya_functions import StepError
from nagaya_graphs.results import NodeResult
from runs.domain.activities import Walk
from runs.domain.failures import StepImpossible
from runs.domain.node_walks import NodeWalk
from runs.domain.plan import PlanStep
from runs.worker.activities.walk import WalkActivities
from runs.worker.activity_calls import ActivityCalls
from runs.worker.chain_scheduler import run_question
from runs.worker.scheduling import BEGIN_TIMEOUT, MAX_ITEMS_AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from temporalio.worker import WorkflowInboundInterceptor, WorkflowInterceptorClassInput

    from nagaya_graphs.running import NodeCall, RunnableGraph
    from runs.domain.activities import RunRef
    from runs.domain.node_walks import NodeWalked
    from runs.domain.plan import Plan
    from runs.worker.chain_scheduler import Decisions
    from runs.worker.graphs import GraphRegistry, InstalledGraph


_FIND_GRAPH = "nagaya_find_graph"

_SENDS_END_VERSION = 7
"""The version since which nodes that Sends have started are done although one of them fails."""

_MOST_FAILED = 20
"""So many of them may fail before the others are cancelled: each may cost."""


class GraphScheduler:
    """Schedules the activities of one run's graph."""

    def __init__(self, run: RunRef, plan: Plan, version: int, decisions: Decisions) -> None:
        self._run = run
        self._plan = plan
        self._calls = ActivityCalls(version)
        self._sent = _SentNodes() if version >= _SENDS_END_VERSION else None
        self._decisions = decisions
        self._askers: dict[str, str] = {}
        """By approval: the node that asks for it."""
        self._settings = {step.step: step for step in plan.steps}
        self._at_once = asyncio.Semaphore(MAX_ITEMS_AT_ONCE)

    async def run(self) -> None:
        """Run the graph to its end.

        Raises ApplicationError for a state that is too large, a graph that does not end, and a
        defect of its routes and reducers, whose text is not told: it may hold anything.
        """
        begun = await self._calls.run(
            "begin", WalkActivities.begin_graph, self._walk(self._plan.graph), BEGIN_TIMEOUT
        )
        self._calls.raise_if_cancelled()
        try:
            graph = _find_graph(self._plan.graph)
            await graph.run(
                begun.update, self._run_node, recursion_limit=self._plan.recursion_limit
            )
        except FailureError:
            self._calls.raise_if_cancelled()
            raise
        except StepError as error:
            raise ApplicationError(error.message, type=error.reason, non_retryable=True) from None
        except Exception as error:
            message = f"the graph raised {type(error).__name__} between its nodes, {_place(error)}"
            raise ApplicationError(message, type="GRAPH_FAILED", non_retryable=True) from None
        self._calls.raise_if_cancelled()

    async def _run_node(self, call: NodeCall) -> NodeResult:
        if call.item and self._sent is not None:
            return await self._sent.run(self._run_to_end(call))
        return await self._run_to_end(call)

    async def _run_to_end(self, call: NodeCall) -> NodeResult:
        async with self._at_once:
            self._calls.raise_if_cancelled()
            setting = self._settings.get(call.node) or PlanStep(call.node)
            attempts = timedelta(seconds=setting.timeout_seconds) * setting.max_attempts
            walk = replace(
                self._walk(call.node), item=call.item, visit=call.visit, state=call.state
            )
            walked = await self._run_once(walk, attempts + BEGIN_TIMEOUT)
        while walked.question is not None:
            await self._ask(call, str(walked.question))
            answers = [*walk.answers, walked.question]
            walk = replace(walk, answers=answers, attempts=walked.attempts)
            async with self._at_once:
                walked = await self._run_once(walk, attempts + BEGIN_TIMEOUT)
        return NodeResult(walked.update, walked.goto)

    async def _run_once(self, walk: NodeWalk, longest: timedelta) -> NodeWalked:
        walked = await self._calls.run(walk.name, WalkActivities.run_node, walk, longest)
        self._calls.raise_if_cancelled()
        return walked

    async def _ask(self, call: NodeCall, approval: str) -> None:
        """Wait for a decision: that of the node's visit, so that none answers another question."""
        asker = self._askers.setdefault(approval, call.node)
        setting = self._settings.get(approval)
        if setting is None or setting.kind != "approval" or asker != call.node or call.item:
            raise StepError(
                "APPROVAL_UNUSABLE",
                f"node {call.node} calls interrupt with {approval!r}: it names an approval in the "
                "pipeline's `steps`, which no other node asks for; a node of a Send cannot ask",
                retryable=False,
            )
        run = self._run
        walk = Walk(run.tenant_id, run.run_id, run.epoch, [approval], visit=call.visit)
        await run_question(self._calls, self._decisions, walk)

    def _walk(self, node: str) -> NodeWalk:
        return NodeWalk(self._run.tenant_id, self._run.run_id, self._run.epoch, [node])


class _SentNodes:
    """The nodes of a superstep that Sends have started.

    As the elements of a map they are all done, also where some fail: a failure waits for the
    others, unless too many have failed.
    """

    def __init__(self) -> None:
        self._running = 0
        self._failures: list[FailureError] = []
        self._over = asyncio.Event()

    async def run(self, node: Coroutine[Any, Any, NodeResult]) -> NodeResult:
        """Run a node. Raises the first failure of all of them once they are over."""
        self._running += 1
        self._over.clear()
        try:
            return await node
        except FailureError as error:
            if is_cancelled(error):
                raise
            self._failures.append(error)
        finally:
            self._running -= 1
            if not self._running or len(self._failures) > _MOST_FAILED:
                self._over.set()
        await self._over.wait()
        raise self._failures[0]


class GraphInterceptor(Interceptor):
    """Gives workflows the graphs that are installed beside the worker."""

    def __init__(self, graphs: GraphRegistry) -> None:
        self._graphs = graphs

    def workflow_interceptor_class(
        self, input: WorkflowInterceptorClassInput
    ) -> type[WorkflowInboundInterceptor] | None:
        input.unsafe_extern_functions[_FIND_GRAPH] = self._graphs.find


def _find_graph(name: str) -> RunnableGraph:
    """Return a graph. Raises ApplicationError for one that is not installed, or unusable."""
    find: Callable[[str], InstalledGraph] = workflow.extern_functions()[_FIND_GRAPH]
    try:
        return find(name).runnable
    except StepImpossible as failure:
        raise ApplicationError(failure.message, type=failure.reason, non_retryable=True) from None


def _place(error: Exception) -> str:
    """Return where an error was raised, without its text."""
    frames = error.__traceback__
    while frames is not None and frames.tb_next is not None:
        frames = frames.tb_next
    if frames is None:
        return "nobody knows where"
    return f"in {frames.tb_frame.f_code.co_qualname}, line {frames.tb_lineno}"
