"""Functions: what a `function` step calls, found by entry point.

A distribution that is installed beside the worker offers its functions in the group
`nagaya.functions`; a pipeline names them. A function takes a StepContext and returns the step's
output, a JSON value.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Protocol

from jsonvalues import JsonValue, NothingThere, NotJson, at, canonical
from runs.domain.failures import StepImpossible
from runs.domain.metrics import metric_value
from runs.domain.outputs import BYTES_AT_ONCE, parse_json

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from jsonvalues import JsonMapping
    from runs.domain.activities import StepRef
    from runs.domain.outputs import FilePointer
    from runs.domain.runs import OutputFile

GROUP = "nagaya.functions"


class Files(Protocol):
    """The files that a piece of work may reach."""

    async def read(self, pointer: FilePointer) -> bytes:
        """Return a JSON value of a file, in its shortest form, of at most 3 MiB."""
        ...

    def stream(self, pointer: FilePointer) -> AsyncGenerator[bytes]:
        """Send a whole file in pieces of at most 1 MiB."""
        ...

    async def write(self, name: str, data: bytes, file_type: str) -> OutputFile:
        """Commit a file of at most 3 MiB as `artifacts/{item}-{visit}/{name}`."""
        ...


@dataclass(frozen=True, slots=True)
class StepContext:
    """What a function knows of its piece of work, and how it reaches bytes."""

    work: StepRef
    arguments: JsonMapping
    outputs: Mapping[str, tuple[FilePointer, ...]]
    """The outputs of the steps that this one needs, `input` among them; of a mapped step, one for
    each item."""
    element: FilePointer | None
    """The element that the step is done for; None without a map."""
    files: Files
    mapped: frozenset[str] = frozenset()
    """Those of the steps in `outputs` that are mapped, whose outputs are a list, of one as well."""

    async def read(self, pointer: FilePointer) -> JsonValue:
        """Return a JSON value, verified, of at most 3 MiB. Raises StepImpossible for others."""
        return parse_json(await self.files.read(pointer))

    def stream(self, pointer: FilePointer) -> AsyncGenerator[bytes]:
        """Send a whole file, verified, in pieces of at most 1 MiB."""
        return self.files.stream(pointer)

    async def write(self, name: str, data: bytes, file_type: str) -> OutputFile:
        """Commit one more file, at most 3 MiB, as `artifacts/{item}-{visit}/{name}`.

        Raises StepImpossible for a larger one.
        """
        if len(data) > BYTES_AT_ONCE:
            raise StepImpossible(
                "FILE_TOO_LARGE",
                f"the function writes a file of {len(data):,} bytes, at most {BYTES_AT_ONCE:,} are "
                "possible: write several",
            )
        return await self.files.write(name, data, file_type)


Function = Callable[[StepContext], Awaitable[JsonValue]]


@dataclass(frozen=True, slots=True)
class FunctionResult:
    """What a function returned, as it is committed: a JSON value in its shortest form."""

    data: bytes
    metrics: Mapping[str, float]

    @classmethod
    def of(cls, value: JsonValue, metrics: Mapping[str, str]) -> FunctionResult:
        """Encode a value and take its metrics, given as JSON pointers by name.

        Raises StepImpossible for what cannot be a step's output.
        """
        return cls(_encoded(value), _numbers(metrics, value))


@dataclass(frozen=True, slots=True)
class InstalledFunction:
    """A function of a distribution that is installed; it is loaded where it is called."""

    name: str
    entry: str
    """`module:attribute`, as the entry point has it."""

    def load(self) -> Function:
        """Import the function. Raises what its module raises."""
        return EntryPoint(self.name, self.entry, GROUP).load()


class Functions:
    """The functions that there are: our own by name, and those that are installed."""

    def __init__(
        self,
        own: Mapping[str, Function],
        installed: Mapping[str, InstalledFunction] | None = None,
        ambiguous: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """`ambiguous`: the distributions that offer different functions, by the common name."""
        self._functions = {**(installed or {}), **own}
        self._ambiguous = {
            name: offers for name, offers in (ambiguous or {}).items() if name not in own
        }

    @classmethod
    def found(cls, own: Mapping[str, Function]) -> Functions:
        """Find the entry points of the group, without importing anything. Our own names stay."""
        offers: dict[str, list[EntryPoint]] = {}
        for entry in entry_points(group=GROUP):
            offers.setdefault(entry.name, []).append(entry)
        return cls(
            own,
            {name: InstalledFunction(name, entries[0].value) for name, entries in offers.items()},
            {
                name: sorted(f"{one.value} of {one.dist.name}" for one in entries if one.dist)
                for name, entries in offers.items()
                if len({one.value for one in entries}) > 1
            },
        )

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._functions))

    def find(self, name: str) -> Function | InstalledFunction:
        """Return a function. Raises StepImpossible if it is not installed, or several are."""
        if name in self._ambiguous:
            raise StepImpossible(
                "FUNCTION_UNUSABLE",
                f"several functions {name} are installed beside the worker: "
                + ", ".join(self._ambiguous[name]),
            )
        function = self._functions.get(name)
        if function is None:
            raise StepImpossible(
                "FUNCTION_NOT_FOUND",
                f"no function {name} is installed beside the worker; there are: "
                + (", ".join(self.names) or "none"),
            )
        return function


def _encoded(value: JsonValue) -> bytes:
    try:
        data = canonical(value)
    except NotJson as error:
        raise StepImpossible(
            "OUTPUT_NOT_JSON", f"the function returned what JSON cannot hold: {error}"
        ) from None
    if len(data) > BYTES_AT_ONCE:
        raise StepImpossible(
            "OUTPUT_TOO_LARGE",
            f"the function returned {len(data):,} bytes, at most {BYTES_AT_ONCE:,} are possible: "
            "write files with StepContext.write and return what names them",
        )
    return data


def _numbers(metrics: Mapping[str, str], value: JsonValue) -> dict[str, float]:
    numbers: dict[str, float] = {}
    for name, pointer in metrics.items():
        try:
            numbers[name] = metric_value(at(value, pointer), name)
        except (KeyError, NothingThere):
            raise StepImpossible(
                "METRIC_NOT_A_NUMBER", f"the output holds no number for {name}"
            ) from None
    return numbers
