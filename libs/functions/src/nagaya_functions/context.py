"""The context of a step: what a function is called with."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Protocol, TypeAlias

from jsonvalues import Json, JsonMapping, JsonValue

if TYPE_CHECKING:
    from nagaya_functions.files import FilePointer

ENTRY_POINT_GROUP = "nagaya.functions"
"""The group of entry points in which a distribution offers functions, by the name in pipelines."""


class StepContext(Protocol):
    """What a function knows about the step that calls it, and how it reaches files.

    A worker makes one for each call, `nagaya_functions.testing` one for each call in a test.
    """

    @property
    def tenant_id(self) -> str:
        """The tenant whose run it is."""
        ...

    @property
    def run_id(self) -> str:
        """The run, a UUID."""
        ...

    @property
    def step(self) -> str:
        """The step's name in its pipeline."""
        ...

    @property
    def item(self) -> int:
        """Which element of the list a mapped step is called for, from 1; 0 without a map."""
        ...

    @property
    def visit(self) -> int:
        """Which pass of a loop, from 1.

        A function may be called several times for the same run, step, item and visit: after an
        attempt has failed, or a worker has died. `idempotency_key` is the same each time.
        """
        ...

    @property
    def idempotency_key(self) -> str:
        """A UUID of tenant, run, step, item and visit, the same for each attempt.

        Another system that is sent it along can recognize a repetition.
        """
        ...

    @property
    def arguments(self) -> JsonMapping:
        """The step's arguments in the pipeline."""
        ...

    @property
    def outputs(self) -> Mapping[str, tuple[FilePointer, ...]]:
        """The outputs of the steps in `needs`, by step; the run's input is that of step `input`.

        One pointer for each step, of a mapped step one for each item, and only that of the same
        element where the step names it in `element_outputs`. Skipped steps are not in it.
        """
        ...

    @property
    def mapped_steps(self) -> frozenset[str]:
        """The mapped ones among the steps in `outputs`: they have any number of items.

        Those in `element_outputs` are none of them.
        """
        ...

    @property
    def element(self) -> FilePointer | None:
        """The element of the list that a mapped step is called for; None without a map."""
        ...

    async def read(self, file: FilePointer) -> Json:
        """Return a JSON value from a file, or the whole file as one. Its sha256 is verified.

        Raises StepError: READ_TOO_LARGE for a value of more than 3 MiB, or inside a file of more
        than 16 MiB; NOT_JSON; POINTER_INVALID when there is nothing at the JSON pointer;
        ARTIFACT_NOT_FOUND and DIGEST_UNEXPECTED when the pointer names no committed file.
        """
        ...

    def stream(self, file: FilePointer) -> AsyncGenerator[bytes]:
        """Yield a whole file in pieces of at most 1 MiB, verified; a JSON pointer is ignored.

        Raises StepError: TOO_MANY_STREAMS when 32 files are already partly read. A stream that is
        not read to its end should be closed with `aclose()`.
        """
        ...

    async def write(self, name: str, data: bytes, file_type: str) -> FilePointer:
        """Commit a file of at most 3 MiB as `artifacts/{item}-{visit}/{name}`; return where it is.

        `file_type` is a media type such as `text/csv`. A file never changes: if an earlier attempt,
        or this one, has committed a file of that name, that file stays and is returned.

        Raises StepError: FILE_TOO_LARGE; FILE_NAME_INVALID for a name or a media type that cannot
        be used, or a name that is reserved.
        """
        ...


Function: TypeAlias = Callable[[StepContext], Awaitable[JsonValue]]
"""A function: it returns the step's output."""
