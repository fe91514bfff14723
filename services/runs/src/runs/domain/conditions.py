"""Conditions of steps: CEL over the metrics of the steps that are needed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from runs.domain import cel
from runs.domain.failures import StepImpossible

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Loops within loops take time without end, on the event loop that serves every tenant.
# Between two words CEL allows comments too.
_GAP = r"(?:\s|//[^\n]*\n)*"
_LOOP = re.compile(rf"\.{_GAP}(all|exists|exists_one|existsOne|map|filter){_GAP}\(")
_PLACE = re.compile(r"ERROR: <input>:\d+:(\d+): (.*)")


def name_in_condition(step: str) -> str:
    """Return how a condition names a step: CEL reads a hyphen as a minus."""
    return step.replace("-", "_")


def condition_fault(condition: str, needs: Iterable[str]) -> str | None:
    """Say what is wrong with a condition; None when nothing is."""
    if loop := _LOOP.search(condition):
        return f"it goes through a list with {loop.group(1)}; compare metrics instead"
    try:
        names = cel.compile(condition).variables()
    except ValueError as error:
        return _syntax_fault(str(error))
    known: dict[str, str] = {}
    for step in needs:
        name = name_in_condition(step)
        other = known.setdefault(name, step)
        if other != step and name in names:
            return f"{name} may be {other} or {step}, since `-` is written as `_`; rename one"
    unknown = next((name for name in names if name not in known), None)
    if unknown is None:
        return None
    return f"{unknown} is no step that this one needs; write a step's `-` as `_`"


def evaluate_condition(expression: str, metrics: Mapping[str, Mapping[str, float]]) -> bool:
    """Evaluate a condition.

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


def _syntax_fault(message: str) -> str:
    place = _PLACE.search(message)
    if place is None:
        return "it is no CEL"
    column, what = place.groups()
    if "ParseError {" in what:  # the parser's own words for programmers
        what = "it cannot be read from here on; is it nested too deeply?"
    return f"it is no CEL: column {column}: {what[:120]}"


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
