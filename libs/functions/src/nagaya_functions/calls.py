"""Calling a function: for workers and the test harness, not for authors.

Both give it a FunctionContext, so that a function meets the same bounds in a test as in a run.
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast
from uuid import UUID, uuid5

from jsonvalues import NotANumber, NothingThere, NotJson, at, canonical, parse, plain_number
from nagaya_functions.errors import StepError
from nagaya_functions.files import MAX_FILE_BYTES, check_file

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from jsonvalues import Json, JsonMapping, JsonValue
    from nagaya_functions.files import FilePointer


_KEYS = UUID("0d9d6f52-6c2b-4c8f-9a53-2f1c7a2c9c55")
"""The namespace of idempotency keys. It never changes: a repetition would not be recognized."""


class Files(Protocol):
    """How the files of a run are reached."""

    async def read(self, file: FilePointer) -> bytes:
        """Return a JSON value of a file as bytes, at most 3 MiB. Raises StepError."""
        ...

    def stream(self, file: FilePointer) -> AsyncGenerator[bytes]:
        """Yield a whole file in pieces of at most 1 MiB. Raises StepError."""
        ...

    async def write(self, name: str, data: bytes, file_type: str) -> FilePointer:
        """Commit a file of the call. A file of that name that is there stays, and is returned."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionContext:
    """The StepContext of a call, whose files somebody else reads and writes."""

    tenant_id: str
    run_id: str
    step: str
    item: int
    visit: int
    arguments: JsonMapping
    outputs: Mapping[str, tuple[FilePointer, ...]]
    mapped_steps: frozenset[str]
    element: FilePointer | None
    files: Files

    @property
    def idempotency_key(self) -> str:
        names = (self.tenant_id, self.run_id, self.step, str(self.item), str(self.visit))
        return str(uuid5(_KEYS, "/".join(names)))

    async def read(self, file: FilePointer) -> Json:
        return read_value(await self.files.read(file))

    def stream(self, file: FilePointer) -> AsyncGenerator[bytes]:
        return self.files.stream(file)

    async def write(self, name: str, data: bytes, file_type: str) -> FilePointer:
        check_file(name, data, file_type)
        return await self.files.write(name, data, file_type)


@dataclass(frozen=True, slots=True)
class FunctionResult:
    """The output of a step, as it is committed: a JSON value in its shortest form."""

    data: bytes
    metrics: Mapping[str, float]


async def call_function(
    function: Callable[[FunctionContext], Awaitable[JsonValue]],
    context: FunctionContext,
    metrics: Mapping[str, str],
) -> FunctionResult:
    """Call a function; encode what it returns and take the metrics, JSON pointers by name, from it.

    Raises what the function raises, and StepError for what cannot be a step's output:
    FUNCTION_UNUSABLE, OUTPUT_NOT_JSON, OUTPUT_TOO_LARGE, METRIC_NOT_A_NUMBER.
    """
    begun = cast("object", function(context))
    if not isinstance(begun, Awaitable):
        raise StepError(
            "FUNCTION_UNUSABLE",
            f"the function returned {type(begun).__name__}, which cannot be awaited: "
            "define it with `async def`, and have it return its output",
            retryable=False,
        )
    value = await cast("Awaitable[JsonValue]", begun)
    return FunctionResult(_encoded(value), _numbers(metrics, value))


def read_value(data: bytes) -> Json:
    """Return the JSON value that a file holds. Raises StepError when it holds none."""
    try:
        return parse(data)
    except NotJson as error:
        message = f"a file holds no JSON value that can be read: {error}"
        raise StepError("NOT_JSON", message, retryable=False) from None


def _encoded(value: JsonValue) -> bytes:
    try:
        data = canonical(value)
    except NotJson as error:
        message = f"the function returned what JSON cannot hold: {error}"
        raise StepError("OUTPUT_NOT_JSON", message, retryable=False) from None
    if len(data) > MAX_FILE_BYTES:
        raise StepError(
            "OUTPUT_TOO_LARGE",
            f"the function returned {len(data):,} bytes, at most {MAX_FILE_BYTES:,} are possible: "
            "write files with StepContext.write and return what names them",
            retryable=False,
        )
    return data


def _numbers(metrics: Mapping[str, str], value: JsonValue) -> dict[str, float]:
    numbers: dict[str, float] = {}
    for name, pointer in metrics.items():
        try:
            numbers[name] = plain_number(at(value, pointer))
        except (NotANumber, NothingThere):
            message = f"the output holds no number for {name}"
            raise StepError("METRIC_NOT_A_NUMBER", message, retryable=False) from None
    return numbers
