"""A table on the terminal that is redrawn while runs go on. Loads rich."""

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
    from nagaya_client.cli.board import Board, Line

_SECONDS = 0.2
_GAP = 2
_MODEL = "MODEL"
_LEAST_ROOM = 12
# Widths that fit most, so that the tables of two runs stand below each other.
_COLUMNS: tuple[tuple[str, str, JustifyMethod, int], ...] = (
    ("STEP", "step", "left", 10),
    ("ITEM", "item", "right", 4),
    ("STATUS", "state", "left", 10),
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
}


@asynccontextmanager
async def drawn(
    boards: Sequence[Board],
) -> AsyncGenerator[Callable[[Board, run_pb2.RunEvent], None]]:
    """Draw boards until the block ends; the last drawing stays."""
    console = Console(highlight=False)

    def table() -> Group:
        return _table(boards, console.width)

    with Live(table(), console=console, auto_refresh=False) as live:

        async def redraw() -> None:
            # By the clock and not by events: a thousand a second are not worth a thousand tables.
            while True:
                live.update(table(), refresh=True)
                await asyncio.sleep(_SECONDS)

        redrawing = asyncio.create_task(redraw())
        try:
            yield _wait_for_the_clock
        finally:
            redrawing.cancel()
            live.update(table(), refresh=True)


def _wait_for_the_clock(_: Board, event: run_pb2.RunEvent) -> None:
    del event


def _table(boards: Sequence[Board], width: int) -> Group:
    room = _room_for_models([line for board in boards for line in board.lines()], width)
    tables = ((_heading(board), _lines(board, room), Text()) for board in boards)
    return Group(*(part for table in tables for part in table))


def _heading(board: Board) -> Text:
    return Text(board.heading(), style=f"bold {_COLOURS.get(board.state, '')}")


def _lines(board: Board, room: int) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    columns = [column for column in _COLUMNS if room or column[0] != _MODEL]
    for name, _, justify, least in columns:
        most = room if name == _MODEL else None
        wide = least if most is None else min(least, most)
        table.add_column(name, justify=justify, min_width=wide, max_width=most, no_wrap=True)
    for line in board.lines():
        style = _COLOURS.get(line.state, "")
        cells = ((field, getattr(line, field)) for _, field, _, _ in columns)
        table.add_row(*(Text(text, style if field == "state" else "") for field, text in cells))
    return table


def _room_for_models(lines: Sequence[Line], width: int) -> int:
    """How wide the models may be, and 0 for not at all: a narrow terminal shows what runs cost."""
    taken = 0
    for name, field, _, least in _COLUMNS:
        if name != _MODEL:
            taken += max(least, *(values.width(getattr(line, field)) for line in lines), 0) + _GAP
    room = width - taken
    return room if room >= _LEAST_ROOM else 0
