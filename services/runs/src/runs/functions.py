"""Functions: what a `function` step calls, found by entry point.

A distribution that is installed beside the worker offers its functions in the group
`nagaya.functions`; a pipeline names them. A function takes a StepContext and returns the step's
output, a JSON value.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from jsonvalues import JsonValue
from runs.domain.failures import StepImpossible
from runs.domain.outputs import BYTES_AT_ONCE, FileDraft, FilePointer, parsed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from jsonvalues import JsonMapping
    from runs.domain.runs import OutputFile
    from runs.domain.work import Work
    from runs.peers.artifacts import Artifacts

GROUP = "nagaya.functions"


@dataclass(frozen=True, slots=True)
class StepContext:
    """What a function knows of its piece of work, and how it reaches bytes."""

    work: Work
    arguments: JsonMapping
    outputs: Mapping[str, tuple[FilePointer, ...]]
    """The outputs of the steps that this one needs, `input` among them; of a mapped step, one for
    each item."""
    element: FilePointer | None
    """The element that the step is done for; None without a map."""
    artifacts: Artifacts

    async def read(self, pointer: FilePointer) -> JsonValue:
        """Return a JSON value, verified, of at most 3 MiB. Raises StepImpossible for others."""
        (data,) = await self.artifacts.read(self.work.tenant_id, [pointer])
        return parsed(data)

    def stream(self, pointer: FilePointer) -> AsyncIterator[bytes]:
        """Send a whole file, verified, in pieces of at most 1 MiB."""
        return self.artifacts.stream(self.work.tenant_id, pointer)

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
        work = self.work
        draft = FileDraft(
            run_id=work.run_id,
            step=work.step,
            name=f"artifacts/{work.item}-{work.visit}/{name}",
            item=work.item,
            visit=work.visit,
            file_type=file_type,
        )
        return await self.artifacts.put(work.tenant_id, draft, data)


Function = Callable[[StepContext], Awaitable[JsonValue]]


class Functions:
    """The functions that are installed."""

    def __init__(self, functions: Mapping[str, Function]) -> None:
        self._functions = dict(functions)

    @classmethod
    def installed(cls) -> Functions:
        """Load every entry point of the group. Raises what loading one raises."""
        return cls({entry.name: entry.load() for entry in entry_points(group=GROUP)})

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._functions))

    def find(self, name: str) -> Function:
        """Return a function. Raises StepImpossible if it is not installed."""
        function = self._functions.get(name)
        if function is None:
            raise StepImpossible(
                "FUNCTION_NOT_FOUND",
                f"no function {name} is installed beside the worker; there are: "
                + (", ".join(self.names) or "none"),
            )
        return function
