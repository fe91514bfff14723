"""The harness: a run's files, and functions that are called on them."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from jsonvalues import canonical, compact, parse, parse_object
from nagaya_functions.calls import FunctionContext, call_function
from nagaya_functions.context import ENTRY_POINT_GROUP
from nagaya_functions.testing.files import RunFiles, StepFiles

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from jsonvalues import Json, JsonMapping, JsonValue
    from nagaya_functions.context import Function
    from nagaya_functions.files import FilePointer

_OUTPUT = "output.json"
_TENANT_ID = "acme"
_RUN_ID = "00000000-0000-4000-8000-000000000001"


@dataclass(frozen=True, slots=True)
class HarnessResult:
    """What a function has done."""

    output: Json
    """The output, as later steps read it."""
    data: bytes
    """The output as the bytes of its file."""
    metrics: Mapping[str, float]
    files: Mapping[str, bytes]
    """What the function has written, by the names that it gave."""


class FunctionHarness:
    """Calls functions on the files of a run, in memory or in a folder.

    A function meets the bounds of a worker, and fails with the StepError of which its step would
    fail. Time and memory are not bounded, and the function runs in the process of the test.
    """

    def __init__(self, *, tenant_id: str = _TENANT_ID, run_id: str = _RUN_ID) -> None:
        self._tenant_id = tenant_id
        self._run_id = run_id
        self._files = RunFiles(tenant_id, run_id)
        self._outputs: dict[str, tuple[FilePointer, ...]] = {}
        self._mapped: set[str] = set()

    @classmethod
    def from_folder(cls, folder: Path) -> FunctionHarness:
        """Make a harness of a run's files: the folder `{tenant_id}/{run_id}` of the bucket, or a
        copy. Nothing is written into it.

        The outputs of the run's steps are there. A mapped step without items is taken for a step
        that is not mapped.
        """
        folder = folder.absolute()
        harness = cls(tenant_id=folder.parent.name, run_id=folder.name)
        for step in sorted(path for path in folder.iterdir() if path.is_dir()):
            harness._add_step(step)
        return harness

    @property
    def outputs(self) -> Mapping[str, tuple[FilePointer, ...]]:
        """The outputs that there are, by step; of a mapped step one for each item."""
        return self._outputs

    def add_output(self, step: str, value: JsonValue) -> FilePointer:
        """Add the output of a step; that of step `input` is the run's input. Raises NotJson."""
        (pointer,) = self._outputs[step] = (self.add_file(f"{step}/{_OUTPUT}", canonical(value)),)
        self._mapped.discard(step)
        return pointer

    def add_item_outputs(self, step: str, values: Sequence[JsonValue]) -> tuple[FilePointer, ...]:
        """Add the outputs of a mapped step, one for each item. Raises NotJson."""
        self._outputs[step] = tuple(
            self.add_file(f"{step}/artifacts/{item}-1/{_OUTPUT}", canonical(value))
            for item, value in enumerate(values, 1)
        )
        self._mapped.add(step)
        return self._outputs[step]

    def add_file(self, name: str, content: bytes) -> FilePointer:
        """Add a file of the run, such as `scan/artifacts/0-1/page.png`, or replace it."""
        self._files.put(name, content)
        return self._files.pointer(name)

    async def run(
        self,
        function: Function | str,
        *,
        step: str = "step",
        needs: Collection[str] | None = None,
        arguments: JsonMapping | None = None,
        element: FilePointer | None = None,
        item: int | None = None,
        visit: int = 1,
        metrics: Mapping[str, str] | None = None,
    ) -> HarnessResult:
        """Call a function, or the one that is installed under a name, for a step of the run.

        `needs` are the steps whose outputs it gets, beside the input; all when absent. `element` is
        the element of a mapped step, such as `harness.add_output("lines", [3, 4]).inside("/0")`,
        and `item` its number, 1 when absent. `metrics` are JSON pointers into the output, by name.

        Raises StepError, whatever the function raises, and LookupError for a name under which no
        function is installed, or several.
        """
        if item is None:
            item = 0 if element is None else 1
        needed = [name for name in self._outputs if needs is None or name in {"input", *needs}]
        files = StepFiles(self._files, f"{step}/artifacts/{item}-{visit}/")
        context = FunctionContext(
            tenant_id=self._tenant_id,
            run_id=self._run_id,
            step=step,
            item=item,
            visit=visit,
            arguments=parse_object(compact(arguments or {})),
            outputs={name: self._outputs[name] for name in needed},
            mapped_steps=frozenset(self._mapped.intersection(needed)),
            element=element,
            files=files,
        )
        callee = load_function(function) if isinstance(function, str) else function
        result = await call_function(callee, context, metrics or {})
        return HarnessResult(parse(result.data), result.data, result.metrics, files.written)

    def _add_step(self, folder: Path) -> None:
        """Add the files of a step; its output if it has one, else it is not done."""
        step = folder.name
        for path in folder.rglob("*"):
            if path.is_file():
                self._files.put(f"{step}/{path.relative_to(folder).as_posix()}", path)
        output = folder / _OUTPUT
        if not output.exists():
            return
        items = [path for path in folder.glob(f"artifacts/*-*/{_OUTPUT}") if _item(path)]
        names = [path.relative_to(folder.parent) for path in sorted(items or [output], key=_item)]
        self._outputs[step] = tuple(self._files.pointer(name.as_posix()) for name in names)
        if items:
            self._mapped.add(step)


def load_function(name: str) -> Function:
    """Import the function that is installed under a name.

    Raises LookupError unless exactly one is, and whatever its module raises.
    """
    found = {entry.value: entry for entry in entry_points(group=ENTRY_POINT_GROUP, name=name)}
    if len(found) != 1:
        raise LookupError(
            f"{len(found) or 'no'} functions are installed under the name {name}: offer one in the "
            f"entry points of a distribution, group {ENTRY_POINT_GROUP}, and install that"
        )
    (entry,) = found.values()
    return entry.load()


def _item(output: Path) -> int:
    """Return the number in `artifacts/{item}-{visit}/output.json`, 0 for a step's own output."""
    item = output.parent.name.partition("-")[0]
    return int(item) if item.isdecimal() else 0
