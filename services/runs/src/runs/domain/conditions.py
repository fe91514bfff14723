"""Conditions of steps: CEL over what is known of the outputs of the steps that are needed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

from runs.domain import cel
from runs.domain.failures import StepImpossible

if TYPE_CHECKING:
    from collections.abc import Iterable

Fact: TypeAlias = float | str | bool
Facts: TypeAlias = Mapping[str, Fact]
"""Metrics and values of an output, by name."""

# Loops within loops take time without end, on the event loop that serves every tenant.
# Between two words CEL allows comments too.
_GAP = r"(?:\s|//[^\n]*\n)*"
_LOOP = re.compile(rf"\.{_GAP}(all|exists|exists_one|existsOne|map|filter){_GAP}\(")
_SKIPPED_CALL = re.compile(rf"\bskipped{_GAP}\({_GAP}([A-Za-z_]\w*{_GAP}\))?")
_PLACE = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*)")
_SKIPPED = "skipped"
# Those of CEL (github.com/google/cel-spec, doc/langdef.md, "Standard Definitions"), and ours.
_FUNCTIONS = frozenset(
    {
        *("bool", "bytes", "contains", "double", "duration", "dyn", "endsWith", "int", "matches"),
        *("max", "min", "size", "startsWith", "string", "timestamp", "type", "uint", _SKIPPED),
        *("getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear", "getFullYear", "getHours"),
        *("getMilliseconds", "getMinutes", "getMonth", "getSeconds"),
    }
)
_MARK = {"": True}
"""What a step that was skipped is in a condition: no metric has this name."""


def name_in_condition(step: str) -> str:
    """Return how a condition names a step: CEL reads a hyphen as a minus."""
    return step.replace("-", "_")


@lru_cache(maxsize=1_000)
def condition_names(condition: str) -> frozenset[str]:
    """Return what a condition names, as `name_in_condition` writes it; nothing if it is no CEL."""
    if not condition:
        return frozenset()
    try:
        return frozenset(cel.compile(condition).variables())
    except ValueError:
        return frozenset()


def condition_fault(condition: str, needs: Iterable[str]) -> str | None:
    """Say what is wrong with a condition; None when nothing is."""
    if loop := _LOOP.search(condition):
        return f"it goes through a list with {loop.group(1)}; compare metrics instead"
    try:
        program = cel.compile(condition)
    except ValueError as error:
        return _syntax_fault(str(error))
    names = program.variables()
    known: dict[str, str] = {}
    for step in needs:
        name = name_in_condition(step)
        other = known.setdefault(name, step)
        if other != step and name in names:
            return f"{name} may be {other} or {step}, since `-` is written as `_`; rename one"
    unknown = next((name for name in names if name not in known), None)
    if unknown is not None:
        return f"{unknown} is no step that this one needs; write a step's `-` as `_`"
    functions = {name for name in program.functions() if name.isidentifier()}
    if missing := sorted(functions - _FUNCTIONS):
        return f"there is no function {missing[0]}; {_SKIPPED}() asks whether a step was skipped"
    if _SKIPPED in functions and not all(_SKIPPED_CALL.findall(condition)):
        return "skipped() asks about a step: write its name alone, as in skipped(review)"
    return None


def evaluate_condition(expression: str, facts: Mapping[str, Facts | None]) -> bool:
    """Evaluate a condition.

    `facts` are by step; a `-` in a step's name is written `_`. None of a step that was skipped.
    Raises StepImpossible if the condition names what is not there, or is neither true nor false.
    """
    names = {
        name_in_condition(step): _MARK if known is None else dict(known)
        for step, known in facts.items()
    }
    try:
        value = cel.evaluate(expression, cel.Context(names, {_SKIPPED: _is_skipped}))
    except Exception as error:
        message = f"the condition cannot be evaluated: {_why(error)}"
        raise StepImpossible("CONDITION_FAILED", message) from error
    if not isinstance(value, bool):
        raise StepImpossible("CONDITION_FAILED", "the condition is neither true nor false")
    return value


def _is_skipped(step: object) -> bool:
    return step == _MARK


def _syntax_fault(message: str) -> str:
    place = _PLACE.search(message)
    if place is None:
        return "it is no CEL"
    line, column, what = place.groups()
    if "ParseError {" in what:  # the parser's own words for programmers
        what = "it cannot be read from here on; is it nested too deeply?"
    where = f"column {column}" if line == "1" else f"line {line}, column {column}"
    return f"it is no CEL: {where}: {what[:120]}"


def _why(error: Exception) -> str:
    match error:
        case KeyError():
            missing = str(error.args[0])[:80]
            return (
                f"there is no metric {missing} (a skipped step has none): "
                "`has(step.metric)` tells whether there is, `skipped(step)` whether it was"
            )
        case TypeError():
            return "it mixes kinds of values: `double(step.metric)` calculates with fractions"
        case ZeroDivisionError():
            return "it divides by zero"
        case OverflowError():
            return "a number grows too large"
        case _:
            return type(error).__name__
