"""The outputs of mapped steps, by element: what belongs to an element of another mapped step."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from nagaya_functions import FilePointer
from runs.domain.element_uses import element_uses
from runs.domain.lists import Relation, Sizes, Steps
from runs.store import steps
from runs.worker.activities.visits import VisitFinder

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from dataplane.tenants import TenantPools
    from runs.domain.activities import RunRef, StepRef, Walk
    from runs.domain.conditions import Facts
    from runs.domain.pipelines import StepSpec
    from runs.domain.runs import OutputFile
    from runs.worker.activities.run_context import RunContext

_CACHED_ELEMENTS = 10_000
_CACHED_MAPS = 20
"""Of how many mapped steps that are done the outputs of all elements are cached: MiB each."""


@dataclass(frozen=True, slots=True)
class OwnOutputs:
    """What other mapped steps have done for the element that a step is done for."""

    outputs: Mapping[str, tuple[FilePointer, ...]] = field(
        default_factory=dict[str, tuple[FilePointer, ...]]
    )
    """By step: one, or of a step over an inner list several. One that was skipped has none."""
    facts: Mapping[str, Facts | None] = field(default_factory=dict[str, "Facts | None"])
    """By step: what is known of its output; None if it was skipped for the element."""
    element: FilePointer | None = None
    """The element itself, where it is in the output of a mapped step; None if that was skipped."""


@dataclass(frozen=True, slots=True)
class MapOutputs:
    """What a mapped step that is done has left."""

    by_item: Mapping[int, FilePointer]
    """The outputs of its elements, in their order."""
    last: int
    """The number of its last element, whatever has become of that."""


class ElementOutputs:
    """Finds outputs of elements. They never change, so they are cached."""

    def __init__(self, tenants: TenantPools) -> None:
        self._tenants = tenants
        self._outputs: OrderedDict[StepRef, OutputFile | None] = OrderedDict()
        self._items: OrderedDict[StepRef, MapOutputs] = OrderedDict()
        self._sizes: OrderedDict[StepRef, Sizes] = OrderedDict()
        self.visits = VisitFinder(tenants)

    def put(self, ref: StepRef, output: OutputFile | None) -> None:
        """Spare the elements that come after this one a query."""
        self._outputs[ref] = output
        if len(self._outputs) > _CACHED_ELEMENTS:
            self._outputs.popitem(last=False)

    def put_sizes(self, whole: StepRef, sizes: Sequence[int]) -> None:
        """Spare the elements of a mapped step a query for how long the lists are."""
        self._sizes[whole] = Sizes.of(sizes)
        if len(self._sizes) > _CACHED_MAPS:
            self._sizes.popitem(last=False)

    async def sizes(self, whole: StepRef) -> Sizes:
        """Return how long the lists are that a mapped step which has begun goes through."""
        known = self._sizes.get(whole)
        if known is not None:
            return known
        async with self._tenants.connection(whole.tenant_id) as connection:
            found = await steps.list_sizes(connection, whole)
        self.put_sizes(whole, found)
        return Sizes.of(found)

    async def of_all(self, whole: StepRef) -> MapOutputs:
        """Return the outputs of a mapped step that is done."""
        known = self._items.get(whole)
        if known is not None:  # else each element of a map would read all those of another
            return known
        async with self._tenants.connection(whole.tenant_id) as connection:
            elements = await steps.elements(connection, whole)
        by_item = {item: pointer_to(output) for item, output in elements.outputs.items()}
        found = self._items[whole] = MapOutputs(by_item, elements.last)
        if len(self._items) > _CACHED_MAPS:
            self._items.popitem(last=False)
        return found

    async def of_one(
        self, context: RunContext, spec: StepSpec, ref: StepRef, uses: Mapping[str, Relation]
    ) -> OwnOutputs:
        """Return what the mapped steps of `uses` have done for an element of a mapped step."""
        by_name = Steps(context.spec.steps)
        sizes = await self._own_sizes(context, spec, ref, uses)
        targets = await self._targets(context, ref, uses, sizes)
        found = await self._find(ref.run, targets.values())
        done = {name: found[target] for name, target in targets.items() if target in found}
        outputs: dict[str, tuple[FilePointer, ...]] = {
            name: (pointer_to(file),) for name, file in done.items() if file is not None
        }
        for name, related in uses.items():
            inner = by_name.list_of(name)
            if related is Relation.INNER and inner is not None and inner.step in outputs:
                outputs[name] = await self._inner(context, ref, name, by_name.root(name))
        facts = {name: None if file is None else file.facts for name, file in done.items()}
        return OwnOutputs(outputs, facts, _element(spec, ref, outputs, sizes))

    async def upstream(self, context: RunContext, walk: Walk) -> dict[StepRef, list[StepRef]]:
        """Return, for each step and element of a walk, the elements of steps outside of the walk
        that must be done before.
        """
        found: dict[StepRef, list[StepRef]] = {}
        by_name = Steps(context.spec.steps)
        for step in walk.steps if walk.first else ():
            spec = by_name[step]
            uses = {
                name: related
                for name, related in element_uses(spec, by_name).items()
                if name not in walk.steps and related is not Relation.INNER
            }
            if not uses:
                continue
            sizes = await self._own_sizes(context, spec, walk.ref(step), uses)
            for item in range(walk.first, walk.last + 1):
                ref = walk.ref(step, item)
                found[ref] = [*(await self._targets(context, ref, uses, sizes)).values()]
        return found

    async def _own_sizes(
        self,
        context: RunContext,
        spec: StepSpec,
        ref: StepRef,
        uses: Mapping[str, Relation],
    ) -> Sizes | None:
        """Return how long the inner lists are that a step goes through; None if it needs not."""
        if Relation.OUTER not in uses.values():
            return None
        opened = Steps(context.spec.steps).root(spec.step)
        return await self.sizes(await self.visits.whole(context.spec, ref, opened))

    async def _targets(
        self,
        context: RunContext,
        ref: StepRef,
        uses: Mapping[str, Relation],
        sizes: Sizes | None,
    ) -> dict[str, StepRef]:
        """Return the element of each step, but those over inner lists, that belongs to one."""
        outer = 0 if sizes is None else sizes.outer(ref.item)[0]
        item_of = {Relation.SAME: ref.item, Relation.OUTER: outer}
        items = {name: item_of[related] for name, related in uses.items() if related in item_of}
        visits = await self.visits.used(context.spec, ref, items.keys())
        return {
            name: replace(ref, step=name, item=item, visit=visits[name])
            for name, item in items.items()
        }

    async def _inner(
        self, context: RunContext, ref: StepRef, name: str, opened: str
    ) -> tuple[FilePointer, ...]:
        """Return a step's outputs for the inner elements that belong to an element."""
        sizes = await self.sizes(await self.visits.whole(context.spec, ref, opened))
        items = (await self.of_all(await self.visits.whole(context.spec, ref, name))).by_item
        return tuple(items[item] for item in sizes.inner(ref.item) if item in items)

    async def _find(
        self, run: RunRef, refs: Collection[StepRef]
    ) -> Mapping[StepRef, OutputFile | None]:
        known = {ref: self._outputs[ref] for ref in refs if ref in self._outputs}
        unknown = [ref for ref in refs if ref not in known]
        if not unknown:
            return known
        async with self._tenants.connection(run.tenant_id) as connection:
            ended = await steps.ended(connection, run, unknown)
        for ref, output in ended.done.items():
            self.put(ref, output)
        return known | ended.done


def pointer_to(file: OutputFile) -> FilePointer:
    return FilePointer(file.output_path, file.output_digest)


def _element(
    spec: StepSpec,
    ref: StepRef,
    outputs: Mapping[str, tuple[FilePointer, ...]],
    sizes: Sizes | None,
) -> FilePointer | None:
    """Return the element of a step that is mapped over a mapped one."""
    over = spec.map
    if over is None or over.step not in outputs:
        return None
    (output,) = outputs[over.step]
    if not over.json_pointer or sizes is None:
        return output
    _, place = sizes.outer(ref.item)
    return output.inside(f"{over.json_pointer}/{place}")
