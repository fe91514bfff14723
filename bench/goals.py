"""Goals of benchmarks: a ratio to a baseline of the same run, and what it must reach."""

from __future__ import annotations

MISSED = "MISSED"
"""Ends the line of each goal that was missed; `python -m bench` collects these lines."""


class Goals:
    """The goals of one benchmark."""

    def __init__(self) -> None:
        self.missed = 0

    def at_least(self, name: str, ratio: float, goal: float) -> None:
        """Print a ratio that is better the larger it is."""
        self._judge(f"{name}: ratio {ratio:.2f} (goal: at least {goal:.2f})", ratio >= goal)

    def at_most(self, name: str, ratio: float, goal: float) -> None:
        """Print a ratio that is better the smaller it is."""
        self._judge(f"{name}: ratio {ratio:.2f} (goal: at most {goal:.2f})", ratio <= goal)

    @property
    def exit_code(self) -> int:
        """0 when every goal was met, else 1."""
        return 1 if self.missed else 0

    def _judge(self, line: str, met: bool) -> None:  # noqa: FBT001 - private, two callers
        self.missed += not met
        print(line if met else f"{line}  {MISSED}")
