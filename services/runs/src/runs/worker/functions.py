"""Functions by the names that pipelines use: the built-in ones, and those that are installed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, TypeAlias

from jsonvalues import JsonValue
from nagaya_functions import ENTRY_POINT_GROUP
from nagaya_functions.calls import FunctionContext
from runs.domain.failures import StepFailed, StepImpossible

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nagaya_functions import Function, StepError

BuiltInFunction: TypeAlias = Callable[[FunctionContext], Awaitable[JsonValue]]
"""A function of the worker itself, which runs in the worker's process."""


@dataclass(frozen=True, slots=True)
class InstalledFunction:
    """A function of an installed distribution, which is imported only where it is called."""

    name: str
    entry_point: str
    """`module:attribute`."""

    def load(self) -> Function:
        """Import the function. Raises whatever its module raises."""
        return EntryPoint(self.name, self.entry_point, ENTRY_POINT_GROUP).load()


class FunctionRegistry:
    """The functions that steps can call."""

    def __init__(
        self,
        built_in: Mapping[str, BuiltInFunction],
        installed: Mapping[str, InstalledFunction] | None = None,
        ambiguous: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """`ambiguous`: for a name under which distributions offer different functions, these."""
        self._functions = {**(installed or {}), **built_in}
        self._ambiguous = {
            name: offers for name, offers in (ambiguous or {}).items() if name not in built_in
        }

    @classmethod
    def discover(cls, built_in: Mapping[str, BuiltInFunction]) -> FunctionRegistry:
        """Find the entry points of the group `nagaya.functions`, without importing any function.

        The name of a built-in function stays that function's.
        """
        offers: dict[str, list[EntryPoint]] = {}
        for entry_point in entry_points(group=ENTRY_POINT_GROUP):
            offers.setdefault(entry_point.name, []).append(entry_point)
        return cls(
            built_in,
            {name: InstalledFunction(name, found[0].value) for name, found in offers.items()},
            {
                name: sorted(f"{one.value} of {one.dist.name}" for one in found if one.dist)
                for name, found in offers.items()
                if len({one.value for one in found}) > 1
            },
        )

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._functions))

    def find(self, name: str) -> BuiltInFunction | InstalledFunction:
        """Return a function. Raises StepImpossible unless exactly one has the name."""
        if name in self._ambiguous:
            raise StepImpossible(
                "FUNCTION_UNUSABLE",
                f"several functions {name} are installed beside the worker: "
                + ", ".join(self._ambiguous[name]),
            )
        function = self._functions.get(name)
        if function is None:
            raise StepImpossible(
                "FUNCTION_NOT_FOUND",
                f"no function {name} is installed beside the worker",
            )
        return function


def to_step_failure(error: StepError) -> StepFailed:
    """Return the failure of the step whose function raised an error."""
    kind = StepFailed if error.retryable else StepImpossible
    return kind(error.reason, error.message)
