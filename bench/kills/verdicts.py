"""What a kill run found: figures, and violations of what is promised."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

VIOLATED = "VIOLATED"
"""Ends the line of each promise that was broken."""
_SHOWN = 3


class Verdicts:
    """The table of one run, in the order in which it was judged."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self.violations = 0

    def note(self, name: str, figure: object) -> None:
        """Add a figure that nothing is promised of."""
        self._lines.append(f"  {name:58} {figure!s:>10}")

    def none(self, name: str, found: Collection[object]) -> None:
        """Judge what must not be: any that was found is a violation, and the first are shown."""
        self._judge(name, len(found), met=not found)
        self._lines += [
            f"      {each!s:.400}" for each, _ in zip(found, range(_SHOWN), strict=False)
        ]

    def some(self, name: str, found: Collection[object]) -> None:
        """Add a figure that nothing is promised of, and show the first of what it counts."""
        self._judge(name, len(found), met=True)
        self._show(found)

    def table(self, title: str) -> str:
        """Return the whole table, and how many promises were broken."""
        last = f"{title}: {self.violations} promises broken"
        return "\n".join([f"{title}:", *self._lines, last])

    def _show(self, found: Collection[object]) -> None:
        first = islice(found, _SHOWN)
        self._lines += [f"      {each!s:.400}" for each in first]

    def _judge(self, name: str, found: int, *, met: bool) -> None:
        self.violations += not met
        self._lines.append(f"  {name:58} {found:>10,}" + ("" if met else f"  {VIOLATED}"))
