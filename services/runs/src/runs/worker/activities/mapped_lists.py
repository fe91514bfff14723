"""The lists that steps are mapped over: their lengths, and the manifests of their outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from jsonvalues import canonical
from runs.domain.activities import MappedList
from runs.domain.failures import ReadTooLarge, StepImpossible
from runs.domain.outputs import BYTES_AT_ONCE, MAP_LIMIT, OUTPUT, FileDraft, parse_json

if TYPE_CHECKING:
    from runs.domain.activities import StepRef
    from runs.domain.runs import OutputFile
    from runs.peers.artifacts import Artifacts
    from runs.worker.activities.step_inputs import StepInputs


async def find_list(artifacts: Artifacts, inputs: StepInputs) -> MappedList:
    """Return the list that a step is mapped over. Raises StepImpossible if there is none."""
    pointer = inputs.list_pointer()
    elements = inputs.elements()
    if elements is not None:
        return MappedList(pointer.digest, len(elements))
    try:
        (data,) = await artifacts.read(inputs.ref.tenant_id, [pointer])
    except ReadTooLarge as error:
        hint = "let its elements name files, which functions write, instead of holding them"
        message = f"{error.why}, too much for a list that a step is mapped over: {hint}"
        raise StepImpossible("LIST_TOO_LARGE", message) from None
    value = parse_json(data)
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise StepImpossible("MAP_NOT_A_LIST", f"there is no list at {pointer.json_pointer!r}")
    if len(value) > MAP_LIMIT:
        raise StepImpossible(
            "LIST_TOO_LONG",
            f"the list has {len(value):,} elements, a step is mapped over at most "
            f"{MAP_LIMIT:,}: divide it among several steps or runs",
        )
    return MappedList(pointer.digest, len(value))


async def put_manifest(
    artifacts: Artifacts, ref: StepRef, items: Sequence[OutputFile]
) -> OutputFile:
    """Commit the output of a mapped step. Raises StepImpossible if it is too large."""
    manifest = {
        "items": [
            {
                "path": item.output_path,
                "digest": item.output_digest,
                "summary": item.summary,
                "metrics": item.numbers,
            }
            for item in items
        ]
    }
    summary = f"{len(items):,} items"
    metrics = {"items": len(items)}
    draft = FileDraft(ref.run_id, ref.step, OUTPUT, summary=summary, metrics=metrics)
    data = canonical(manifest)
    if len(data) > BYTES_AT_ONCE:
        raise StepImpossible(
            "OUTPUT_TOO_LARGE",
            f"what names the outputs of {len(items):,} elements takes {len(data):,} bytes, at "
            f"most {BYTES_AT_ONCE:,} are possible: map over fewer",
        )
    return await artifacts.put(ref.tenant_id, draft, data)
