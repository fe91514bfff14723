"""Watching runs: as a table that is redrawn, as lines for people, or as JSON lines."""

from __future__ import annotations

import asyncio
import importlib
from contextlib import aclosing, nullcontext
from typing import TYPE_CHECKING

import click

from nagaya_client.cli import board as boards
from nagaya_client.cli import hints
from nagaya_client.cli.board import Board
from nagaya_client.cli.output import json_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from nagaya.runs.v1 import run_pb2
    from nagaya_client.cli.session import Session
    from nagaya_client.client import Client
    from nagaya_client.errors import ApiError

    Hear = Callable[[Board, run_pb2.RunEvent], None]


async def watch(session: Session, tenant_id: str, run_id: str, after: int = 0) -> bool:
    """Show a run to its end, and say why if it fails; whether it completed. Raises ApiError."""
    board = Board(f"{tenant_id}/{run_id}")
    try:
        async with _view(session, board) as hear:
            await follow(session.client, board, tenant_id, run_id, hear, after=after)
    except asyncio.CancelledError:
        goes_on = "the run goes on: WatchRun shows it again, CancelRun stops it"
        click.echo(hints.in_commands(goes_on, {"run_id": run_id}), err=True)
        raise
    error = board.run.error
    if error.message:
        step = f"step {error.step}: " if error.step else ""
        click.echo(f"error: {step}{hints.in_commands(error.message)}", err=True)
        click.echo(f"reason: {error.reason}", err=True)
    elif board.completed and session.on_terminal:
        files = "ListArtifacts lists its files, DownloadArtifact shows one"
        click.echo(hints.in_commands(files, {"run_id": run_id}), err=True)
    return board.completed


async def follow(
    client: Client, board: Board, tenant_id: str, run_id: str, hear: Hear, *, after: int = 0
) -> None:
    """Keep a board up to date to the run's end; `hear` is told after each event."""

    def cut(error: ApiError) -> None:
        told = f"{board.title}: the line is cut ({error.message})"
        click.echo(f"{told}; trying for a minute to take it up again", err=True)

    def resumed(seconds: float) -> None:
        told = f"{board.title}: the line is back after {seconds:.1f} s, no event is lost"
        click.echo(told, err=True)

    watching = client.watch_run(tenant_id, run_id, after, on_cut=cut, on_resumed=resumed)
    async with aclosing(watching) as events:
        async for event in events:
            board.hear(event)
            hear(board, event)


def drawn(shown: Sequence[Board]) -> AbstractAsyncContextManager[Hear]:
    """A table of boards that is redrawn on the terminal as long as the block lasts."""
    # Only here, because loading rich takes as long as loading click.
    live = importlib.import_module("nagaya_client.cli.live")
    return live.drawn(shown)


def say_line(board: Board, event: run_pb2.RunEvent) -> None:
    """Print an event as one line for people."""
    if event.WhichOneof("event") == "run":
        click.echo(board.heading())
        return
    line = boards.line(event.step)
    spent = [line.model, f"{line.tokens} tokens" if line.tokens else "", line.cost]
    took = f"{line.seconds} s" if line.seconds and event.step.HasField("end_time") else ""
    words = [f"{board.title}  {line.step:<10} {line.item:>3}  {line.state:<9}", *spent, took]
    click.echo("  ".join(filter(None, words)).rstrip())


def _view(session: Session, board: Board) -> AbstractAsyncContextManager[Hear]:
    match session.asked_format:
        case "jsonl":
            return nullcontext(_say_json)
        case "json" | "yaml":
            return nullcontext(_say_nothing)
        case "table" if not session.on_terminal:
            return nullcontext(say_line)
        case _:
            return drawn([board]) if session.on_terminal else nullcontext(_say_json)


def _say_json(_: Board, event: run_pb2.RunEvent) -> None:
    click.echo(json_line(event))


def _say_nothing(_: Board, event: run_pb2.RunEvent) -> None:
    del event
