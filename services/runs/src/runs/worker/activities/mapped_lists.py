"""The lists that steps are mapped over: their lengths, and the manifests of their outputs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jsonvalues import canonical
from runs.domain.failures import ReadTooLarge, StepImpossible
from runs.domain.lists import MAP_LIMIT
from runs.domain.outputs import BYTES_AT_ONCE, FileDraft, output_name, parse_json
from servicekit.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from jsonvalues import JsonValue
    from nagaya_functions import FilePointer
    from runs.domain.activities import StepRef
    from runs.domain.runs import OutputFile
    from runs.peers.artifacts import Artifacts
    from runs.store.steps import Elements
    from runs.worker.activities.step_inputs import StepInputs

_LISTS_AT_ONCE = 8
_LEFT_OUT = (("summary",), ("summary", "values"), ("summary", "values", "metrics"))
"""What a manifest that would be too large does not tell of each output: the rows do. By then all
elements are paid."""


@dataclass(frozen=True, slots=True)
class FoundList:
    """The list that a step is mapped over."""

    digest: str
    """The sha256 of the file that holds it, or of the manifest of the step whose outputs do."""
    sizes: tuple[int, ...]
    """How long it is; of lists within outputs, how long each is, by the element."""

    @property
    def count(self) -> int:
        return sum(self.sizes)


async def find_list(artifacts: Artifacts, inputs: StepInputs) -> FoundList:
    """Return the list that a step is mapped over. Raises StepImpossible if there is none."""
    pointer = inputs.list_pointer()
    outputs = inputs.list_outputs
    if outputs is None:
        length = await _length(artifacts, inputs, pointer, "there is no list")
        return FoundList(pointer.digest, (length,))
    if inputs.spec.map is None or not inputs.spec.map.json_pointer:
        return FoundList(pointer.digest, (outputs.last,))
    lengths = await _lengths(artifacts, inputs, outputs.by_item, inputs.spec.map.json_pointer)
    sizes = tuple(lengths.get(item, 0) for item in range(1, outputs.last + 1))
    _check_length(sum(sizes))
    return FoundList(pointer.digest, sizes)


async def _lengths(
    artifacts: Artifacts,
    inputs: StepInputs,
    outputs: Mapping[int, FilePointer],
    json_pointer: str,
) -> dict[int, int]:
    """Return how long the lists in the outputs of a mapped step are, by element."""
    at_once = asyncio.Semaphore(_LISTS_AT_ONCE)

    async def length(item: int, output: FilePointer) -> int:
        nothing = f"in the output for element {item} there is no list"
        async with at_once:
            try:
                return await _length(artifacts, inputs, output.inside(json_pointer), nothing)
            except InvalidInput as error:
                reason = error.reason.removeprefix("ERROR_REASON_")
                message = f"in the output for element {item}: {error.message}"
                raise StepImpossible(reason, message) from None

    lengths = await asyncio.gather(*(length(item, output) for item, output in outputs.items()))
    return dict(zip(outputs, lengths, strict=True))


async def _length(
    artifacts: Artifacts, inputs: StepInputs, pointer: FilePointer, nothing: str
) -> int:
    try:
        (data,) = await artifacts.read(inputs.ref.tenant_id, [pointer])
    except ReadTooLarge as error:
        hint = "let its elements name files, which functions write, instead of holding them"
        message = f"{error.why}, too much for a list that a step is mapped over: {hint}"
        raise StepImpossible("LIST_TOO_LARGE", message) from None
    value = parse_json(data)
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise StepImpossible("MAP_NOT_A_LIST", f"{nothing} at {pointer.json_pointer!r}")
    _check_length(len(value))
    return len(value)


def _check_length(length: int) -> None:
    if length > MAP_LIMIT:
        raise StepImpossible(
            "LIST_TOO_LONG",
            f"the list has {length:,} elements, a step is mapped over at most "
            f"{MAP_LIMIT:,}: divide it among several steps or runs",
        )


async def put_manifest(artifacts: Artifacts, ref: StepRef, elements: Elements) -> OutputFile:
    """Commit the output of a mapped step. Raises StepImpossible if it is too large."""
    done, failed, skipped = len(elements.outputs), len(elements.failed), len(elements.skipped)
    summary = f"{done:,} items"
    summary += f", {failed:,} failed" if failed else ""
    summary += f", {skipped:,} skipped" if skipped else ""
    metrics = {"items": done, "failed": failed, "skipped": skipped}
    draft = FileDraft(
        ref.run_id, ref.step, output_name(ref), 0, ref.visit, summary=summary, metrics=metrics
    )
    data = _manifest(elements, ())
    for left_out in _LEFT_OUT:
        if len(data) > BYTES_AT_ONCE:
            data = _manifest(elements, left_out)
    if len(data) > BYTES_AT_ONCE:
        raise StepImpossible(
            "OUTPUT_TOO_LARGE",
            f"what names the outputs of {elements.count:,} elements takes {len(data):,} bytes, at "
            f"most {BYTES_AT_ONCE:,} are possible: map over fewer",
        )
    return await artifacts.put(ref.tenant_id, draft, data)


def _manifest(elements: Elements, left_out: Collection[str]) -> bytes:
    """Return the manifest, without some of what it tells of each output."""
    items: list[JsonValue] = []
    for item, output in elements.outputs.items():
        whole: dict[str, JsonValue] = {
            "item": item,
            "path": output.output_path,
            "digest": output.output_digest,
            "summary": output.summary,
            "metrics": output.numbers,
            "values": dict(output.values),
        }
        items.append({name: value for name, value in whole.items() if name not in left_out})
    return canonical(
        {
            "items": items,
            "failed": [
                {"item": item, "reason": failure.reason, "message": failure.message}
                for item, failure in elements.failed.items()
            ],
            "skipped": elements.skipped,
        }
    )
