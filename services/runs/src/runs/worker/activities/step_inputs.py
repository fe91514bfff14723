"""The inputs of a step: where the outputs of the steps that it needs lie."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from nagaya_functions import FilePointer
from runs.domain.failures import StepImpossible
from runs.domain.pipelines import (
    INPUT,
    Element,
    ElementOutput,
    FunctionStep,
    Output,
    Text,
    element_needs,
)
from runs.store import steps

if TYPE_CHECKING:
    from collections.abc import Mapping, Set

    from dataplane.tenants import TenantPools
    from runs.domain.activities import RunRef, StepRef
    from runs.domain.pipelines import BoundValue, StepSpec
    from runs.domain.runs import OutputFile
    from runs.worker.activities.run_context import RunContext

_CACHED_OUTPUTS = 2_000
_CACHED_ELEMENTS = 10_000
_CACHED_MAPS = 20
"""Of how many mapped steps that are done the outputs of all elements are cached: MiB each."""


@dataclass(frozen=True, slots=True)
class StepInputs:
    """The outputs that a step may use."""

    ref: StepRef
    spec: StepSpec
    outputs: Mapping[str, tuple[FilePointer, ...]]
    """By step; of a mapped step, one for each item. A skipped step has none."""
    same_element: Mapping[str, FilePointer]
    """Of mapped steps: the output for the element that the step is done for."""
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
        """Return the element that the step is done for; None without a map."""
        if self.spec.map is None or not self.ref.item:
            return None
        if self.spec.map.step in self.same_element:
            return self.same_element[self.spec.map.step]
        elements = self.elements()
        if elements is not None:
            return elements[self.ref.item - 1]
        return _inside(self.list_pointer(), f"/{self.ref.item - 1}")

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


class StepInputFinder:
    """Finds the inputs of steps. Outputs never change, so they are cached."""

    def __init__(self, tenants: TenantPools) -> None:
        self._tenants = tenants
        self._step_outputs: OrderedDict[tuple[RunRef, str], OutputFile | None] = OrderedDict()
        self._item_outputs: OrderedDict[tuple[RunRef, str], tuple[FilePointer, ...]] = OrderedDict()
        self._element_outputs: OrderedDict[StepRef, FilePointer] = OrderedDict()

    def put(self, ref: StepRef, output: OutputFile | None) -> None:
        """Spare the steps that need this one a query."""
        if (ref.item, ref.visit) == (0, 1):
            self._step_outputs[ref.run, ref.step] = output
        elif output is not None:
            self._element_outputs[ref] = _pointer(output)
        if len(self._step_outputs) > _CACHED_OUTPUTS:
            self._step_outputs.popitem(last=False)
        if len(self._element_outputs) > _CACHED_ELEMENTS:
            self._element_outputs.popitem(last=False)

    async def find(self, context: RunContext, spec: StepSpec, ref: StepRef) -> StepInputs:
        """Find what a step may use; what this worker has done itself without a query."""
        by_element: Set[str] = frozenset()
        if ref.item:
            needed = {step: context.spec.step(step) for step in spec.needs if step != INPUT}
            by_element = element_needs(spec, needed)
        wanted = {*spec.needs} - {INPUT}
        if spec.map is not None:
            wanted |= {spec.map.step} - {INPUT}
        done = await self._done(ref.run, wanted - by_element)
        own = _element_outputs(spec) if ref.item else frozenset[str]()
        same_element = await self._same_element(ref, own | by_element)
        outputs: dict[str, tuple[FilePointer, ...]] = {}
        whole: dict[str, FilePointer] = {}
        if context.run.input_file is not None:
            whole[INPUT] = _pointer(context.run.input_file)
            outputs[INPUT] = (whole[INPUT],)
        for step, output in done.items():
            whole[step] = _pointer(output)
            outputs[step] = await self._outputs(context, ref, step, whole[step])
        mapped = frozenset(step for step in done if context.spec.step(step).map is not None)
        if isinstance(spec.kind, FunctionStep):
            mapped -= own
            for step in own:
                outputs.pop(step, None)
            outputs |= {step: (same_element[step],) for step in sorted(own & same_element.keys())}
        return StepInputs(
            ref,
            spec,
            outputs,
            same_element,
            _numbers(spec, context, done),
            None if spec.map is None else whole.get(spec.map.step),
            mapped,
        )

    async def _done(self, run: RunRef, names: Set[str]) -> dict[str, OutputFile]:
        """Return the outputs of those of the steps that are done and were not skipped, by step."""
        known = {step: self._step_outputs.get((run, step)) for step in names}
        unknown = sorted(step for step in names if (run, step) not in self._step_outputs)
        if unknown:
            async with self._tenants.connection(run.tenant_id) as connection:
                found = await steps.done(connection, run.run_id, unknown)
            known |= {step: row.output for step, row in found.items()}
        return {step: output for step, output in known.items() if output is not None}

    async def _outputs(
        self, context: RunContext, ref: StepRef, step: str, whole: FilePointer
    ) -> tuple[FilePointer, ...]:
        if context.spec.step(step).map is None:
            return (whole,)
        known = self._item_outputs.get((ref.run, step))
        if known is not None:  # else each element of a map would read all those of another
            return known
        async with self._tenants.connection(ref.tenant_id) as connection:
            items = await steps.items(connection, ref.run_id, step)
        found = self._item_outputs[ref.run, step] = tuple(map(_pointer, items))
        while len(self._item_outputs) > _CACHED_MAPS:
            self._item_outputs.popitem(last=False)
        return found

    async def _same_element(self, ref: StepRef, names: Set[str]) -> Mapping[str, FilePointer]:
        if not ref.item or not names:
            return {}
        refs = [replace(ref, step=step) for step in sorted(names)]
        unknown = [other for other in refs if other not in self._element_outputs]
        found: dict[StepRef, OutputFile | None] = {}
        if unknown:
            async with self._tenants.connection(ref.tenant_id) as connection:
                found = await steps.outputs(connection, ref.run, unknown)
        for other, output in found.items():
            self.put(other, output)
        known = {other.step: self._element_outputs.get(other) for other in refs}
        return {step: pointer for step, pointer in known.items() if pointer is not None}


def _numbers(
    spec: StepSpec, context: RunContext, done: Mapping[str, OutputFile]
) -> dict[str, dict[str, float]]:
    given = context.run.input_file
    return {
        **{step: {} for step in spec.needs},
        INPUT: {} if given is None else given.numbers,
        **{step: output.numbers for step, output in done.items()},
    }


def _element_outputs(spec: StepSpec) -> frozenset[str]:
    if isinstance(spec.kind, FunctionStep):
        return frozenset(spec.kind.element_outputs)
    values = (binding.value for binding in spec.kind.bindings)
    return frozenset(value.step for value in values if isinstance(value, ElementOutput))


def _pointer(file: OutputFile) -> FilePointer:
    return FilePointer(file.output_path, file.output_digest)


def _inside(pointer: FilePointer, json_pointer: str) -> FilePointer:
    return FilePointer(pointer.path, pointer.digest, pointer.json_pointer + json_pointer)


def _missing(step: str) -> StepImpossible:
    return StepImpossible("OUTPUT_MISSING", f"step {step} has no output: was it skipped?")
