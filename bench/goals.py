"""Rows of the table that a benchmark prints: a figure, its baseline, their ratio and the goal."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MET, MISSED, NOT_MEASURED = "met", "MISSED", "NOT MEASURED"
COMPARED = "no goal"
GOALS_MISSED = 3
"""The exit code of a part that has measured everything; a defect exits with 1."""

_VERDICTS = (MET, MISSED, NOT_MEASURED, COMPARED)
HEADER = ("figure", "ours", "baseline", "ratio", "goal", "verdict")
_WIDTHS = (54, 24, 34, 5, 8, 0)


@dataclass(frozen=True, slots=True)
class Row:
    """One row; printed as a row of a Markdown table, which `parse` reads again."""

    figure: str
    ours: str
    baseline: str
    ratio: str
    goal: str
    verdict: str

    @property
    def missed(self) -> bool:
        return self.verdict in (MISSED, NOT_MEASURED)

    @classmethod
    def parse(cls, line: str) -> Row | None:
        """Return the row that a line is; None if it is none."""
        cells = [cell.strip() for cell in line.strip().split("|")[1:-1]]
        return cls(*cells) if len(cells) == len(HEADER) and cells[-1] in _VERDICTS else None

    def __str__(self) -> str:
        cells = (self.figure, self.ours, self.baseline, self.ratio, self.goal, self.verdict)
        padded = (cell.ljust(width) for cell, width in zip(cells, _WIDTHS, strict=True))
        return f"| {' | '.join(padded)} |"


class Goals:
    """The rows of one benchmark, printed as they come."""

    def __init__(self) -> None:
        self.missed = 0

    def at_least(
        self, figure: str, ratio: float, goal: float, ours: str = "", baseline: str = ""
    ) -> None:
        """Print a ratio that is better the larger it is."""
        verdict = MET if ratio >= goal else MISSED
        self._print(Row(figure, ours, baseline, f"{ratio:.2f}", f"≥ {goal:.2f}", verdict))

    def at_most(
        self, figure: str, ratio: float, goal: float, ours: str = "", baseline: str = ""
    ) -> None:
        """Print a ratio that is better the smaller it is."""
        verdict = MET if ratio <= goal else MISSED
        self._print(Row(figure, ours, baseline, f"{ratio:.2f}", f"≤ {goal:.2f}", verdict))

    def shown(self, figure: str, ours: str, baseline: str = "", ratio: float | None = None) -> None:
        """Print a figure that has no goal."""
        shown = "" if ratio is None else f"{ratio:.2f}"
        self._print(Row(figure, ours, baseline, shown, "", COMPARED))

    def not_measured(self, figure: str, why: str) -> None:
        """Print a goal that could not be measured; it counts as missed."""
        self._print(Row(figure, "", why.replace("|", "/"), "", "", NOT_MEASURED))

    @property
    def exit_code(self) -> int:
        """0 when every goal was met, else GOALS_MISSED."""
        return GOALS_MISSED if self.missed else 0

    def _print(self, row: Row) -> None:
        self.missed += row.missed
        print(row, flush=True)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a Markdown table of figures that have no goals."""
    lines = [header, ["---"] * len(header), *rows]
    widths = [
        max(len(line[column]) for line in lines[:1] + lines[2:]) for column in range(len(header))
    ]
    print()
    for line in lines:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print(f"| {' | '.join(padded)} |", flush=True)


def ratio(ours: Sequence[float], baseline: Sequence[float]) -> float:
    """Return the median of the rounds' ratios: both sides of a round were measured side by side."""
    return statistics.median(a / b for a, b in zip(ours, baseline, strict=True))


def spread(values: Sequence[float], unit: str = "", digits: int = 1) -> str:
    """Return the median, with the smallest and the largest: `47.1 (39.0 to 64.2) calls/s`."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f}) {unit}".rstrip()
