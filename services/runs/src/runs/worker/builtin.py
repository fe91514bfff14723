"""Functions that every worker has. They are ours and bounded, so they run in its own process."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from runs.domain.failures import StepImpossible
from runs.domain.outputs import BYTES_AT_ONCE, parse_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jsonvalues import JsonValue
    from runs.worker.functions import Function, StepContext


async def constant(context: StepContext) -> JsonValue:
    """Return the argument `value`."""
    return context.arguments.get("value")


async def collect(context: StepContext) -> JsonValue:
    """Return the outputs of the steps that are needed, by step; of a mapped step, as a list.

    Steps that were skipped are left out.
    """
    collected: dict[str, JsonValue] = {}
    size = 0
    for step, pointers in context.outputs.items():
        values: list[JsonValue] = []
        for pointer in pointers:
            data = await context.files.read(pointer)
            size += len(data)
            if size > BYTES_AT_ONCE:
                raise StepImpossible(
                    "OUTPUT_TOO_LARGE",
                    f"the outputs that are to be collected take more than {BYTES_AT_ONCE:,} bytes: "
                    "collect fewer, or let them name files",
                )
            values.append(parse_json(data))
        collected[step] = values if step in context.mapped else values[0]
    return collected


BUILT_IN: Mapping[str, Function] = MappingProxyType({"collect": collect, "constant": constant})
"""By the name that a pipeline calls them."""
