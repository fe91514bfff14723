"""Values of outputs, for conditions: texts of at most 256 characters, and booleans."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

from jsonvalues import NothingThere, at
from nagaya_functions import FilePointer
from runs.domain.failures import StepFailed, StepImpossible
from runs.domain.outputs import VALUE_CHARACTERS, parse_json
from runs.worker.activities.retries import retry_transient

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jsonvalues import JsonValue
    from runs.domain.activities import StepRef
    from runs.domain.pipelines import StepSpec
    from runs.domain.runs import OutputFile
    from runs.domain.transitions import StepOutcome
    from runs.worker.activities.buffered_files import BufferedFiles, OutputFiles

_ON_LOOP_BYTES = 256 << 10  # read here; more in a thread


async def read_values(data: bytes, pointers: Mapping[str, str]) -> dict[str, str | bool]:
    """Return the values at JSON pointers, by name, in an output. Raises StepImpossible."""
    if not pointers:
        return {}
    if len(data) <= _ON_LOOP_BYTES:
        return _values(data, pointers)
    return await asyncio.to_thread(_values, data, pointers)


async def read_committed_values(
    files: OutputFiles, ref: StepRef, spec: StepSpec, file: OutputFile
) -> OutputFile:
    """Return a committed output with its values, as they are in the file.

    Raises StepImpossible, and what the artifacts service refuses.
    """
    if not spec.values:
        return file
    pointers = [
        FilePointer(file.output_path, file.output_digest, pointer)
        for pointer in spec.values.values()
    ]
    found = await retry_transient(lambda: files.read(ref.tenant_id, pointers))
    values = {
        name: _checked(name, parse_json(data))
        for name, data in zip(spec.values, found, strict=True)
    }
    return replace(file, values=values)


async def with_values(
    files: OutputFiles,
    ref: StepRef,
    spec: StepSpec,
    file: OutputFile,
    made: tuple[bytes, Mapping[str, str | bool]],
) -> OutputFile:
    """Return a committed output with its values; `made` are the bytes that were to be committed,
    and the values in them.

    Where an earlier attempt has committed another file, the values are that one's.
    """
    data, values = made
    if not values:
        return file
    if file.output_digest == hashlib.sha256(data).hexdigest():
        return replace(file, values=values)
    return await read_committed_values(files, ref, spec, file)


async def with_committed_values(
    artifacts: OutputFiles,
    files: BufferedFiles,
    spec_of: Callable[[str], StepSpec],
    steps: Sequence[tuple[StepRef, StepOutcome]],
) -> list[tuple[StepRef, StepOutcome]]:
    """Return short steps with the values that are in their files as these were committed.

    They end before one whose file does not have its values, which counts as refused.
    """
    found: list[tuple[StepRef, StepOutcome]] = []
    for ref, outcome in steps:
        file = outcome.output
        draft = None if file is None else files.replaced.get(file.output_path)
        if file is not None and draft is not None:
            try:
                file = await read_committed_values(artifacts, ref, spec_of(ref.step), file)
            except StepFailed as failure:
                files.refused[file.output_path] = (draft, failure)
                return found
        found.append((ref, replace(outcome, output=file)))
    return found


def _values(data: bytes, pointers: Mapping[str, str]) -> dict[str, str | bool]:
    content = parse_json(data)
    return {name: _checked(name, _found(content, at_)) for name, at_ in pointers.items()}


def _found(content: JsonValue, pointer: str) -> JsonValue:
    try:
        return at(content, pointer)
    except NothingThere:
        return None


def _checked(name: str, value: JsonValue) -> str | bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and len(value) <= VALUE_CHARACTERS and "\0" not in value:
        return value
    found = (
        f"a text of {len(value):,} characters"
        if isinstance(value, str)
        else "nothing, or no text and no boolean"
    )
    raise StepImpossible(
        "VALUE_UNUSABLE",
        f"the output holds {found} for {name}: a value is a text of at most "
        f"{VALUE_CHARACTERS} characters, true or false",
    )
