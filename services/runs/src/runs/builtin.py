"""Functions that every worker has."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jsonvalues import JsonValue
    from runs.functions import StepContext


async def constant(context: StepContext) -> JsonValue:
    """Return the argument `value`."""
    return context.arguments.get("value")


async def collect(context: StepContext) -> JsonValue:
    """Return the outputs of the steps that are needed, by step; of a mapped step, as a list."""
    collected: dict[str, JsonValue] = {}
    for step, pointers in context.outputs.items():
        values = [await context.read(pointer) for pointer in pointers]
        collected[step] = values if len(values) != 1 else values[0]
    return collected
