"""Conditions of steps: CEL over the metrics of the steps that a step needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cel

from runs.domain.conditions import name_in_condition
from runs.domain.failures import StepImpossible

if TYPE_CHECKING:
    from collections.abc import Mapping


def holds(expression: str, metrics: Mapping[str, Mapping[str, float]]) -> bool:
    """Tell whether a condition is true.

    `metrics` are by step, then by name; a `-` in a step's name is written `_`. Raises
    StepImpossible if the condition names what is not there, or is neither true nor false.
    """
    names = {name_in_condition(step): dict(numbers) for step, numbers in metrics.items()}
    try:
        value = cel.evaluate(expression, names)
    except Exception as error:
        message = f"the condition cannot be evaluated: {_why(error)}"
        raise StepImpossible("CONDITION_FAILED", message) from error
    if not isinstance(value, bool):
        raise StepImpossible("CONDITION_FAILED", "the condition is neither true nor false")
    return value


def _why(error: Exception) -> str:
    match error:
        case KeyError():
            missing = str(error.args[0])[:80]
            return (
                f"there is no metric {missing} (a skipped step has none): "
                "`has(step.metric)` tells whether there is"
            )
        case TypeError():
            return "it mixes kinds of values: `double(step.metric)` calculates with fractions"
        case ZeroDivisionError():
            return "it divides by zero"
        case OverflowError():
            return "a number grows too large"
        case _:
            return type(error).__name__
