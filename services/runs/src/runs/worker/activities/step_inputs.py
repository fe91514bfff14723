"""The inputs of a step: where the outputs of the steps that it needs lie, and what they tell."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from runs.domain.conditions import evaluate_condition
from runs.domain.element_uses import element_uses, uses_all
from runs.domain.failures import StepImpossible
from runs.domain.lists import Relation, Steps
from runs.domain.pipelines import (
    INPUT,
    Element,
    ElementOutput,
    FirstElementOutput,
    FirstOutput,
    FixedText,
    FunctionStep,
    LlmStep,
    Manifest,
    Output,
)
from runs.store import steps
from runs.worker.activities.element_outputs import (
    ElementOutputs,
    MapOutputs,
    OwnOutputs,
    pointer_to,
)
from runs.worker.activities.visits import previous_steps

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence, Set

    from dataplane.tenants import TenantPools
    from nagaya_functions import FilePointer
    from runs.domain.activities import RunRef, StepRef
    from runs.domain.conditions import Facts
    from runs.domain.pipelines import BoundValue, StepSpec
    from runs.domain.runs import OutputFile
    from runs.worker.activities.run_context import RunContext

_CACHED_OUTPUTS = 2_000


@dataclass(frozen=True, slots=True)
class StepInputs:
    """The outputs that a step may use."""

    ref: StepRef
    spec: StepSpec
    outputs: Mapping[str, tuple[FilePointer, ...]]
    """By step; of a mapped step, one for each element that is done. A skipped step has none."""
    element_outputs: Mapping[str, tuple[FilePointer, ...]]
    """Of mapped steps, what belongs to the element that the step is done for: one output, or of
    those over an inner list several. Those that were skipped for it have none."""
    files: Mapping[str, FilePointer] = field(default_factory=dict[str, "FilePointer"])
    """The outputs as files: of a mapped step, its manifest."""
    facts: Mapping[str, Facts | None] = field(default_factory=dict[str, "Facts | None"])
    """What is known of `input` and of each step that is needed, for conditions; None of a step that
    was skipped."""
    element_facts: Mapping[str, Facts | None] = field(default_factory=dict[str, "Facts | None"])
    """The same for the condition of elements: of mapped steps, of the element's output."""
    element: FilePointer | None = None
    """The element that the step is done for; None without a map, and where a step that it is mapped
    over was skipped for it."""
    list_outputs: MapOutputs | None = None
    """Where the step is mapped over a mapped one: that one's outputs."""
    mapped: frozenset[str] = frozenset()
    """Those of the steps that are mapped: their outputs are lists, of one element too."""
    inner: frozenset[str] = frozenset()
    """Those that are mapped over lists inside of the element that the step is done for."""
    previous: Mapping[str, tuple[FilePointer, ...]] = field(
        default_factory=dict[str, "tuple[FilePointer, ...]"]
    )
    """The newest outputs of visits before, by step; a step that has left none has none."""
    mapped_before: frozenset[str] = frozenset()
    """Those of the steps of `previous` that are mapped."""

    def list_pointer(self) -> FilePointer:
        """Return the list that the step is mapped over. Raises StepImpossible without one."""
        over = self.spec.map
        if over is None or over.step not in self.files:
            raise _missing("the list" if over is None else over.step)
        return self.files[over.step].inside(over.json_pointer)

    def condition_holds(self) -> bool:
        """Return whether the step is to be done, and not skipped. Raises StepImpossible."""
        return not self.spec.when or evaluate_condition(self.spec.when, self.facts)

    def element_holds(self) -> bool:
        """Return whether a mapped step is to be done for its element, and not skipped.

        It is skipped where what it asks of other steps for the same element was. Raises
        StepImpossible.
        """
        over = self.spec.map
        if over is None or not self.ref.item:
            return True
        if self.element is None or not self._has_element_outputs():
            return False
        return not over.when or evaluate_condition(over.when, self.element_facts)

    def _has_element_outputs(self) -> bool:
        if not isinstance(self.spec.kind, LlmStep):
            return True
        for binding in self.spec.kind.bindings:
            match binding.value:
                case ElementOutput(step):
                    missing = step not in self.element_outputs
                case FirstElementOutput(outputs):
                    missing = all(each.step not in self.element_outputs for each in outputs)
                case _:
                    missing = False
            if missing:
                return False
        return True

    def function_outputs(self) -> tuple[dict[str, tuple[FilePointer, ...]], frozenset[str]]:
        """Return the outputs that a function gets, and the steps whose outputs are lists."""
        outputs, mapped = dict(self.outputs), {*self.mapped}
        if not isinstance(self.spec.kind, FunctionStep):
            return outputs, frozenset(mapped)
        for step in self.spec.kind.manifests:
            if step in self.files:
                outputs[step] = (self.files[step],)
            mapped.discard(step)
        for step in self.spec.kind.element_outputs:
            outputs.pop(step, None)
            mapped.discard(step)
            if step in self.element_outputs:
                outputs[step] = self.element_outputs[step]
                mapped |= {step} & self.inner
        for step in self.spec.kind.previous_visits:
            if step in self.previous:
                outputs[step] = self.previous[step]
                mapped |= {step} & self.mapped_before
        return outputs, frozenset(mapped)

    def pieces(self, value: BoundValue) -> tuple[str | FilePointer, ...]:
        """Return what a variable stands for. Raises StepImpossible if a skipped step has it."""
        match value:
            case FixedText(text):
                return (text,)
            case Output(previous_visit=True):
                return self._previous_pieces(value)
            case Output():
                return _pieces((value,), self.outputs)
            case FirstOutput(outputs):
                return _pieces(outputs, self.outputs)
            case ElementOutput():
                return _pieces((value,), self.element_outputs)
            case FirstElementOutput(outputs):
                return _pieces(outputs, self.element_outputs)
            case Manifest(step, json_pointer):
                if step not in self.files:
                    raise _missing(step)
                return (self.files[step].inside(json_pointer),)
            case Element(json_pointer):
                if self.element is None:
                    raise _missing(self.spec.step)
                return (self.element.inside(json_pointer),)

    def _previous_pieces(self, value: Output) -> tuple[FilePointer, ...]:
        if value.step in self.previous:
            return _pieces((value,), self.previous)
        if not value.first_visit_step:
            return ()
        first = Output(value.first_visit_step, value.first_visit_json_pointer)
        return _pieces((first,), self.outputs)


class StepInputFinder:
    """Finds the inputs of steps. Outputs never change, so they are cached."""

    def __init__(self, tenants: TenantPools) -> None:
        self._tenants = tenants
        self._step_outputs: OrderedDict[tuple[RunRef, str, int], OutputFile | None] = OrderedDict()
        self.elements = ElementOutputs(tenants)

    def put(self, ref: StepRef, output: OutputFile | None) -> None:
        """Spare the steps that need this one a query."""
        if ref.item:
            self.elements.put(ref, output)
            return
        self._step_outputs[ref.run, ref.step, ref.visit] = output
        if len(self._step_outputs) > _CACHED_OUTPUTS:
            self._step_outputs.popitem(last=False)

    async def find(self, context: RunContext, spec: StepSpec, ref: StepRef) -> StepInputs:
        """Find what a step may use; what this worker has done itself without a query."""
        over = spec.map
        of_element = ref.item and over is not None
        uses = element_uses(spec, Steps(context.spec.steps)) if of_element else {}
        own = await self.elements.of_one(context, spec, ref, uses) if uses else OwnOutputs()
        wanted = {*spec.needs, *(() if over is None else (over.step,))} - {INPUT}
        alone = {step for step in uses if not uses_all(spec, step)}
        visits = await self.elements.visits.used(context.spec, ref, wanted)
        done = await self._done(ref.run, {step: visits[step] for step in wanted - alone})
        given = context.run.input_file
        known = {**({} if given is None else {INPUT: given}), **done}
        files = {step: pointer_to(file) for step, file in known.items() if file is not None}
        items = await self._items(context, ref, files)
        previous = await self._previous(context, spec, ref)
        facts: dict[str, Facts | None] = {step: {} for step in (*spec.needs, INPUT)}
        facts |= {step: None if file is None else file.facts for step, file in known.items()}
        element = own.element
        if over is not None and ref.item and over.step not in uses and over.step in files:
            element = files[over.step].inside(f"{over.json_pointer}/{ref.item - 1}")
        return StepInputs(
            ref=ref,
            spec=spec,
            outputs={
                step: tuple(items[step].by_item.values()) if step in items else (file,)
                for step, file in files.items()
            },
            element_outputs=own.outputs,
            files=files,
            facts=facts,
            element_facts={**facts, **own.facts},
            element=element,
            list_outputs=None if over is None else items.get(over.step),
            mapped=frozenset(items),
            inner=frozenset(step for step, related in uses.items() if related is Relation.INNER),
            previous=previous,
            mapped_before=frozenset(n for n in previous if context.spec.step(n).map is not None),
        )

    async def facts(
        self, context: RunContext, ref: StepRef, names: Set[str]
    ) -> dict[str, Facts | None]:
        """Return what is known of `input` and of some steps, for a condition of the step `ref`."""
        visits = await self.elements.visits.used(context.spec, ref, names)
        done = await self._done(ref.run, visits)
        given = context.run.input_file
        facts: dict[str, Facts | None] = {step: {} for step in (*names, INPUT)}
        facts |= {step: None if file is None else file.facts for step, file in done.items()}
        return facts if given is None else {**facts, INPUT: given.facts}

    async def _previous(
        self, context: RunContext, spec: StepSpec, ref: StepRef
    ) -> dict[str, tuple[FilePointer, ...]]:
        names = previous_steps(spec) if ref.visit > 1 else frozenset[str]()
        rows = await self.elements.visits.newest(ref.run, names, ref.visit) if names else {}
        found: dict[str, tuple[FilePointer, ...]] = {}
        for step, row in rows.items():
            if context.spec.step(step).map is not None:
                whole = replace(ref, step=step, item=0, visit=row.visit)
                found[step] = tuple((await self.elements.of_all(whole)).by_item.values())
            elif row.output is not None:
                found[step] = (pointer_to(row.output),)
        return found

    async def _items(
        self, context: RunContext, ref: StepRef, names: Iterable[str]
    ) -> dict[str, MapOutputs]:
        """Return the outputs of those of some steps that are mapped, by step and element."""
        by_name = Steps(context.spec.steps)
        mapped = [step for step in names if step in by_name and by_name[step].map is not None]
        wholes = {
            step: await self.elements.visits.whole(context.spec, ref, step) for step in mapped
        }
        return {step: await self.elements.of_all(whole) for step, whole in wholes.items()}

    async def _done(self, run: RunRef, visits: Mapping[str, int]) -> dict[str, OutputFile | None]:
        """Return the outputs of those of the steps that are done; None of one that was skipped.

        `visits` has the visit of each.
        """
        known = {
            step: self._step_outputs[run, step, visit]
            for step, visit in visits.items()
            if (run, step, visit) in self._step_outputs
        }
        unknown = {step: visits[step] for step in sorted(visits.keys() - known.keys())}
        if unknown:
            async with self._tenants.connection(run.tenant_id) as connection:
                found = await steps.done(connection, run.run_id, unknown)
            known |= {step: row.output for step, row in found.items()}
        return known


def _pieces(
    sources: Sequence[Output | ElementOutput], outputs: Mapping[str, tuple[FilePointer, ...]]
) -> tuple[FilePointer, ...]:
    """Return what the first of some sources that there is stands for. Raises StepImpossible."""
    for source in sources:
        if source.step in outputs:
            return tuple(each.inside(source.json_pointer) for each in outputs[source.step])
    raise _missing(" or ".join(source.step for source in sources))


def _missing(step: str) -> StepImpossible:
    return StepImpossible("OUTPUT_MISSING", f"step {step} has no output: was it skipped?")
