"""A table on the terminal that is redrawn while runs go on. Loads rich."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from rich.console import JustifyMethod

    from nagaya.runs.v1 import run_pb2
    from nagaya_client.cli.board import Board

_SECONDS = 0.2
# Widths that fit most, so that the tables of two runs stand below each other.
_COLUMNS: tuple[tuple[str, JustifyMethod, int], ...] = (
    ("STEP", "left", 10),
    ("ITEM", "right", 4),
    ("STATUS", "left", 10),
    ("MODEL", "left", 26),
    ("TOKENS", "right", 7),
    ("COST", "right", 8),
    ("SECONDS", "right", 7),
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
    with Live(_table(boards), console=Console(highlight=False), auto_refresh=False) as live:

        async def redraw() -> None:
            # By the clock and not by events: a thousand a second are not worth a thousand tables.
            while True:
                live.update(_table(boards), refresh=True)
                await asyncio.sleep(_SECONDS)

        redrawing = asyncio.create_task(redraw())
        try:
            yield _wait_for_the_clock
        finally:
            redrawing.cancel()
            live.update(_table(boards), refresh=True)


def _wait_for_the_clock(_: Board, event: run_pb2.RunEvent) -> None:
    del event


def _table(boards: Sequence[Board]) -> Group:
    return Group(*(part for board in boards for part in (_heading(board), _lines(board), Text())))


def _heading(board: Board) -> Text:
    return Text(board.heading(), style=f"bold {_COLOURS.get(board.state, '')}")


def _lines(board: Board) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name, justify, width in _COLUMNS:
        table.add_column(name, justify=justify, min_width=width, no_wrap=True)
    for line in board.lines():
        state = Text(line.state, style=_COLOURS.get(line.state, ""))
        table.add_row(line.step, line.item, state, line.model, line.tokens, line.cost, line.seconds)
    return table
