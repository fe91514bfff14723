"""Conditions of steps: CEL over the metrics of the steps that a step needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cel

from runs.domain.failures import StepImpossible

if TYPE_CHECKING:
    from collections.abc import Mapping


def holds(expression: str, metrics: Mapping[str, Mapping[str, int]]) -> bool:
    """Tell whether a condition is true.

    `metrics` are by step, then by name; a `-` in a step's name is written `_`. Raises
    StepImpossible if the condition names what is not there, or is neither true nor false.
    """
    names = {step.replace("-", "_"): dict(numbers) for step, numbers in metrics.items()}
    try:
        value = cel.evaluate(expression, names)
    except Exception as error:
        raise StepImpossible(
            "CONDITION_FAILED", f"the condition cannot be evaluated ({type(error).__name__})"
        ) from error
    if not isinstance(value, bool):
        raise StepImpossible("CONDITION_FAILED", "the condition is neither true nor false")
    return value
