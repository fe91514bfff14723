"""Where the inputs of a piece of work lie: the outputs of the steps that it needs."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runs.domain.failures import StepImpossible
from runs.domain.outputs import FilePointer
from runs.domain.pipelines import INPUT, Element, ElementOutput, Output, Text
from runs.domain.work import Work

if TYPE_CHECKING:
    from collections.abc import Mapping, Set

    from dataplane.pools import Connection
    from runs.activities.setups import Setup
    from runs.domain.pipelines import BoundValue, StepSpec
    from runs.domain.runs import OutputFile
    from runs.domain.work import RunRef
    from runs.store.steps import StepStore

_KNOWN_OUTPUTS = 2_000
_KNOWN_MAPS = 20
"""Of how many mapped steps that are done the outputs of all elements are known: MiB each."""


@dataclass(frozen=True, slots=True)
class Sources:
    """The outputs that a piece of work may use."""

    work: Work
    spec: StepSpec
    outputs: Mapping[str, tuple[FilePointer, ...]]
    """By step; of a mapped step, one for each item. A skipped step has none."""
    same_element: Mapping[str, FilePointer]
    """Of mapped steps: the output for the element that this piece of work is done for."""
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict[str, dict[str, float]])
    """The numbers of `input` and of each step that is needed, for conditions; a skipped one has
    none."""
    list_file: FilePointer | None = None
    """The file that holds the list that the step is mapped over."""
    mapped: frozenset[str] = frozenset()
    """Those of the steps that are mapped: their outputs are lists, of one element too."""

    def elements(self) -> tuple[FilePointer, ...] | None:
        """Return the elements where they are the outputs of a mapped step; None where a file holds
        them as a list.
        """
        over = self.spec.map
        if over is None or over.json_pointer or over.step not in self.mapped:
            return None
        return self.outputs.get(over.step)

    def list_pointer(self) -> FilePointer:
        """Return the list that the step is mapped over. Raises StepImpossible without one."""
        if self.list_file is None or self.spec.map is None:
            raise _missing("the list" if self.spec.map is None else self.spec.map.step)
        return _inside(self.list_file, self.spec.map.json_pointer)

    def element(self) -> FilePointer | None:
        """Return the element that the piece of work is done for; None without a map."""
        if self.spec.map is None or not self.work.item:
            return None
        elements = self.elements()
        if elements is not None:
            return elements[self.work.item - 1]
        return _inside(self.list_pointer(), f"/{self.work.item - 1}")

    def pieces(self, value: BoundValue) -> tuple[str | FilePointer, ...]:
        """Return what a variable stands for. Raises StepImpossible if a skipped step has it."""
        match value:
            case Text(text):
                return (text,)
            case Output(step, json_pointer):
                found = self.outputs.get(step)
                if found is None:
                    raise _missing(step)
                return tuple(_inside(pointer, json_pointer) for pointer in found)
            case ElementOutput(step, json_pointer):
                same = self.same_element.get(step)
                if same is None:
                    raise _missing(step)
                return (_inside(same, json_pointer),)
            case Element(json_pointer):
                element = self.element()
                if element is None:
                    raise _missing(self.spec.step)
                return (_inside(element, json_pointer),)


class SourceFinder:
    def __init__(self, steps: StepStore) -> None:
        self._steps = steps
        self._known: OrderedDict[tuple[RunRef, str], OutputFile | None] = OrderedDict()
        self._known_items: OrderedDict[tuple[RunRef, str], tuple[FilePointer, ...]] = OrderedDict()

    def remember(self, work: Work, output: OutputFile | None) -> None:
        """Spare the steps that need this one a look into the database: an output never changes."""
        if (work.item, work.visit) == (0, 1):
            self._known[work.run, work.step] = output
        if len(self._known) > _KNOWN_OUTPUTS:
            self._known.popitem(last=False)

    async def find(
        self, connection: Connection, setup: Setup, spec: StepSpec, work: Work
    ) -> Sources:
        """Find what a piece of work may use."""
        wanted = {*spec.needs} - {INPUT}
        if spec.map is not None:
            wanted |= {spec.map.step} - {INPUT}
        done = await self._done(connection, work.run, wanted)
        outputs: dict[str, tuple[FilePointer, ...]] = {}
        whole: dict[str, FilePointer] = {}
        if setup.run.input_file is not None:
            whole[INPUT] = _pointer(setup.run.input_file)
            outputs[INPUT] = (whole[INPUT],)
        for step, output in done.items():
            whole[step] = _pointer(output)
            outputs[step] = await self._outputs(connection, setup, work, step, whole[step])
        return Sources(
            work,
            spec,
            outputs,
            await self._same_element(connection, spec, work),
            _numbers(spec, setup, done),
            None if spec.map is None else whole.get(spec.map.step),
            frozenset(step for step in done if setup.spec.step(step).map is not None),
        )

    async def _done(
        self, connection: Connection, run: RunRef, steps: Set[str]
    ) -> dict[str, OutputFile]:
        """Return the outputs of those of the steps that are done and were not skipped, by step."""
        known = {step: self._known.get((run, step)) for step in steps}
        unknown = sorted(step for step in steps if (run, step) not in self._known)
        found = await self._steps.done(connection, run.run_id, unknown) if unknown else {}
        known |= {step: row.output for step, row in found.items()}
        return {step: output for step, output in known.items() if output is not None}

    async def _outputs(
        self, connection: Connection, setup: Setup, work: Work, step: str, whole: FilePointer
    ) -> tuple[FilePointer, ...]:
        if setup.spec.step(step).map is None:
            return (whole,)
        known = self._known_items.get((work.run, step))
        if known is not None:  # else each element of a map would read all those of another
            return known
        items = await self._steps.items(connection, work.run_id, step)
        found = self._known_items[work.run, step] = tuple(map(_pointer, items))
        while len(self._known_items) > _KNOWN_MAPS:
            self._known_items.popitem(last=False)
        return found

    async def _same_element(
        self, connection: Connection, spec: StepSpec, work: Work
    ) -> Mapping[str, FilePointer]:
        if not work.item:
            return {}
        found: dict[str, FilePointer] = {}
        for step in _element_outputs(spec):
            other = Work(work.tenant_id, work.run_id, work.epoch, step, work.item, work.visit)
            row = await self._steps.find(connection, other)
            if row is not None and row.output is not None:
                found[step] = _pointer(row.output)
        return found


def _numbers(
    spec: StepSpec, setup: Setup, done: Mapping[str, OutputFile]
) -> dict[str, dict[str, float]]:
    given = setup.run.input_file
    return {
        **{step: {} for step in spec.needs},
        INPUT: {} if given is None else given.numbers,
        **{step: output.numbers for step, output in done.items()},
    }


def _element_outputs(spec: StepSpec) -> tuple[str, ...]:
    bindings = getattr(spec.kind, "bindings", ())
    return tuple(b.value.step for b in bindings if isinstance(b.value, ElementOutput))


def _pointer(file: OutputFile) -> FilePointer:
    return FilePointer(file.output_path, file.output_digest)


def _inside(pointer: FilePointer, json_pointer: str) -> FilePointer:
    return FilePointer(pointer.path, pointer.digest, pointer.json_pointer + json_pointer)


def _missing(step: str) -> StepImpossible:
    return StepImpossible("OUTPUT_MISSING", f"step {step} has no output: was it skipped?")
