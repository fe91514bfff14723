"""The harness: a run's files, what models and people answer, and a graph that is run on them."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass, field, replace
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from jsonvalues import canonical, parse
from nagaya_functions.testing.files import RunFiles, StepFiles
from nagaya_graphs.calls import NodeCallContext, NodeWork, call_node
from nagaya_graphs.context import ENTRY_POINT_GROUP
from nagaya_graphs.loading import INPUT, load_graph
from nagaya_graphs.nodes import INTERRUPT
from nagaya_graphs.results import NodeResult
from nagaya_graphs.running import RunnableGraph
from nagaya_graphs.state import decode_state, encode_state, encode_value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jsonvalues import Json, JsonValue
    from nagaya_functions import FilePointer
    from nagaya_graphs.loading import Graph
    from nagaya_graphs.running import NodeCall

_TENANT_ID = "acme"
_RUN_ID = "00000000-0000-4000-8000-000000000001"


@dataclass(frozen=True, slots=True)
class NodeVisit:
    """A node that was run."""

    node: str
    item: int
    visit: int
    output: Json
    """The output of its step: `update` and `goto`."""
    files: Mapping[str, bytes]
    """What it has written, by the names that it gave."""
    asked: Sequence[Mapping[str, Sequence[str | FilePointer]]]
    """The variables of each call of its model."""


@dataclass(frozen=True, slots=True)
class HarnessRun:
    """What a graph has done."""

    state: Mapping[str, object]
    """The state at its end."""
    visits: Sequence[NodeVisit]
    """In the order in which they ended."""

    @property
    def nodes(self) -> list[str]:
        """The names of the nodes that were run, in that order."""
        return [visit.node for visit in self.visits]


class GraphHarness:
    """Runs graphs on files in memory; what models reply and people answer it is given.

    State, files and results meet the bounds of a worker, and a node fails with the StepError of
    which its step would fail. A node is tried once.
    """

    def __init__(self, *, tenant_id: str = _TENANT_ID, run_id: str = _RUN_ID) -> None:
        self._tenant_id = tenant_id
        self._run_id = run_id
        self._files = RunFiles(tenant_id, run_id)
        self._replies: dict[str, deque[JsonValue]] = defaultdict(deque)
        self._answers: dict[str, deque[JsonValue]] = defaultdict(deque)

    def add_replies(self, node: str, *contents: JsonValue) -> None:
        """Add what the model of a node replies, one content for each call, in their order."""
        self._replies[node].extend(contents)

    def add_answers(self, node: str, *answers: JsonValue) -> None:
        """Add what people answer where a node calls `interrupt`."""
        self._answers[node].extend(answers)

    def add_file(self, name: str, content: bytes) -> FilePointer:
        """Add a file of the run, or replace it."""
        self._files.put(name, content)
        return self._files.pointer(name)

    async def run(
        self,
        graph: Graph | str,
        given: JsonValue = None,
        *,
        arguments: Mapping[str, JsonValue] | None = None,
        recursion_limit: int = 100,
    ) -> HarnessRun:
        """Run a graph, or the one that is installed under a name, on an input.

        Raises StepError, GraphUnusable, whatever the graph raises, and LookupError for a name under
        which no graph is installed, or several, and for a reply or an answer that is missing.
        """
        found = load_graph(_entry_point(graph)) if isinstance(graph, str) else graph
        runnable = RunnableGraph(found)
        pointer = self.add_file(f"{INPUT}/output.json", canonical(given))
        state = encode_state(arguments or {})
        if INPUT in runnable.fields:
            state[INPUT] = encode_value(INPUT, pointer)
        visits: list[NodeVisit] = []

        async def run_node(call: NodeCall) -> NodeResult:
            visit, result = await self._visit(found, call, pointer)
            visits.append(visit)
            return result

        ended = await runnable.run(state, run_node, recursion_limit=recursion_limit)
        return HarnessRun(decode_state(ended), visits)

    async def _visit(
        self, graph: Graph, call: NodeCall, given: FilePointer
    ) -> tuple[NodeVisit, NodeResult]:
        folder = f"{call.node}/artifacts/{call.item}-{call.visit}/"
        files = StepFiles(self._files, folder)
        work = NodeWork(call.node, call.state)
        while True:
            models = _ScriptedModels(self._files, folder, call.node, self._replies[call.node])
            context = self._context(call, given, files, models)
            output = parse((await call_node(graph, work, context, {})).data)
            if not isinstance(output, dict) or INTERRUPT not in output:
                break
            if not self._answers[call.node]:
                raise LookupError(f"node {call.node} asks {output[INTERRUPT]!r}: add_answers")
            work = replace(work, answers=[*work.answers, self._answers[call.node].popleft()])
        visit = NodeVisit(call.node, call.item, call.visit, output, files.written, models.asked)
        return visit, NodeResult.parse(output)

    def _context(
        self, call: NodeCall, given: FilePointer, files: StepFiles, models: _ScriptedModels
    ) -> NodeCallContext:
        return NodeCallContext(
            tenant_id=self._tenant_id,
            run_id=self._run_id,
            step=call.node,
            item=call.item,
            visit=call.visit,
            arguments={},
            outputs={INPUT: (given,)},
            mapped_steps=frozenset(),
            element=None,
            files=files,
            models=models,
        )


@dataclass(slots=True)
class _ScriptedModels:
    """The model of one visit of a node: its replies are in the harness."""

    files: RunFiles
    folder: str
    node: str
    replies: deque[JsonValue]
    asked: list[Mapping[str, Sequence[str | FilePointer]]] = field(
        default_factory=list["Mapping[str, Sequence[str | FilePointer]]"]
    )

    async def ask(
        self, call: int, variables: Mapping[str, Sequence[str | FilePointer]]
    ) -> FilePointer:
        self.asked.append(variables)
        name = f"{self.folder}replies/{call}.json"
        if not self.files.has(name):
            if not self.replies:
                raise LookupError(f"node {self.node} asks its model once more: add_replies")
            self.files.put(name, canonical(self.replies.popleft()))
        return self.files.pointer(name)


def _entry_point(name: str) -> str:
    found = {entry.value for entry in entry_points(group=ENTRY_POINT_GROUP, name=name)}
    if len(found) != 1:
        raise LookupError(
            f"{len(found) or 'no'} graphs are installed under the name {name}: offer one in the "
            f"entry points of a distribution, group {ENTRY_POINT_GROUP}, and install that"
        )
    return found.pop()
