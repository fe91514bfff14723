"""The built-in functions. Their work is bounded, so they run in the worker's own process."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from nagaya_functions import MAX_FILE_BYTES, StepError
from nagaya_functions.calls import read_value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jsonvalues import JsonValue
    from nagaya_functions.calls import FunctionContext
    from runs.worker.functions import BuiltInFunction


async def constant(context: FunctionContext) -> JsonValue:
    """Return the argument `value`."""
    return context.arguments.get("value")


async def element(context: FunctionContext) -> JsonValue:
    """Return the element that the step is mapped over, or the value at the argument `json_pointer`
    in it: so that the step's `values` and `metrics` are those of the element.

    Raises StepError: NO_ELEMENT without a map.
    """
    if context.element is None:
        message = "the step has no `map`, so there is no element"
        raise StepError("NO_ELEMENT", message, retryable=False)
    pointer = context.arguments.get("json_pointer", "")
    return await context.read(context.element.inside(str(pointer)))


async def collect(context: FunctionContext) -> JsonValue:
    """Return the outputs of the steps in `needs`, by step; of a mapped step, as a list.

    `input` is among them only if the step needs it. Skipped steps are left out. Raises StepError:
    OUTPUT_TOO_LARGE beyond 3 MiB.
    """
    collected: dict[str, JsonValue] = {}
    size = 0
    for step, pointers in context.outputs.items():
        values: list[JsonValue] = []
        for pointer in pointers:
            data = await context.files.read(pointer)
            size += len(data)
            if size > MAX_FILE_BYTES:
                raise StepError(
                    "OUTPUT_TOO_LARGE",
                    f"the outputs that are to be collected take more than {MAX_FILE_BYTES:,} "
                    "bytes: collect fewer, or let them name files",
                    retryable=False,
                )
            values.append(read_value(data))
        collected[step] = values if step in context.mapped_steps else values[0]
    return collected


BUILT_IN: Mapping[str, BuiltInFunction] = MappingProxyType(
    {"collect": collect, "constant": constant, "element": element}
)
"""The built-in functions by the names that pipelines use."""
