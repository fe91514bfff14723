"""A table on the terminal, redrawn while runs go on. Loads rich."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from nagaya_client.cli import values

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from rich.console import JustifyMethod

    from nagaya.runs.v1 import run_pb2
    from nagaya_client.cli.run_progress import ProgressRow, RunProgress

_SECONDS = 0.2
_GAP = 2
_MODEL = "MODEL"
_LEAST_ROOM = 12
# Widths that fit most, so that the tables of two runs stand below each other.
_COLUMNS: tuple[tuple[str, str, JustifyMethod, int], ...] = (
    ("STEP", "step", "left", 10),
    ("ITEM", "item", "right", 4),
    ("STATE", "state", "left", 10),
    (_MODEL, "model", "left", 26),
    ("TOKENS", "tokens", "right", 7),
    ("COST", "cost", "right", 8),
    ("SECONDS", "seconds", "right", 7),
)
_COLOURS = {
    "running": "cyan",
    "completed": "green",
    "failed": "red",
    "cancelled": "yellow",
    "skipped": "dim",
    "waiting": "yellow",
}


@asynccontextmanager
async def live_table(
    runs: Sequence[RunProgress],
) -> AsyncGenerator[Callable[[RunProgress, run_pb2.RunEvent], None]]:
    """Draw runs until the block ends; the last drawing stays. The events are not looked at."""
    console = Console(highlight=False)

    def table() -> Group:
        return _table(runs, console.width)

    with Live(table(), console=console, auto_refresh=False) as live:

        async def redraw() -> None:
            # By the clock and not by events: a thousand a second are not worth a thousand tables.
            while True:
                live.update(table(), refresh=True)
                await asyncio.sleep(_SECONDS)

        redrawing = asyncio.create_task(redraw())
        try:
            yield _ignore_event
        finally:
            redrawing.cancel()
            live.update(table(), refresh=True)


def _ignore_event(_: RunProgress, event: run_pb2.RunEvent) -> None:
    del event


def _table(runs: Sequence[RunProgress], width: int) -> Group:
    room = _room_for_models([row for run in runs for row in run.rows()], width)
    tables = ((_heading(run), _run_table(run, room), _waits(run), Text()) for run in runs)
    return Group(*(part for table in tables for part in table))


def _heading(run: RunProgress) -> Text:
    return Text(run.heading(), style=f"bold {_COLOURS.get(run.state, '')}")


def _waits(run: RunProgress) -> Text:
    return Text(run.waits, style="yellow")


def _run_table(run: RunProgress, room: int) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    columns = [column for column in _COLUMNS if room or column[0] != _MODEL]
    for name, _, justify, least in columns:
        most = room if name == _MODEL else None
        wide = least if most is None else min(least, most)
        table.add_column(name, justify=justify, min_width=wide, max_width=most, no_wrap=True)
    for row in run.rows():
        style = _COLOURS.get(row.state, "")
        cells = ((field, getattr(row, field)) for _, field, _, _ in columns)
        table.add_row(*(Text(text, style if field == "state" else "") for field, text in cells))
    return table


def _room_for_models(rows: Sequence[ProgressRow], width: int) -> int:
    """How wide the models may be, and 0 for not at all: a narrow terminal shows what runs cost."""
    taken = 0
    for name, field, _, least in _COLUMNS:
        if name != _MODEL:
            taken += max(least, *(values.width(getattr(row, field)) for row in rows), 0) + _GAP
    room = width - taken
    return room if room >= _LEAST_ROOM else 0
