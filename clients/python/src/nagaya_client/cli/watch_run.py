"""Output of `run watch`: a table that is redrawn, lines for people, or JSON lines."""

from __future__ import annotations

import asyncio
import importlib
from contextlib import aclosing, nullcontext
from typing import TYPE_CHECKING

import click

from nagaya_client.cli import hints, run_progress
from nagaya_client.cli.output import json_line
from nagaya_client.cli.run_progress import RunProgress

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from nagaya.runs.v1 import run_pb2
    from nagaya_client.cli.session import Session
    from nagaya_client.client import Client
    from nagaya_client.errors import ApiError

    OnEvent = Callable[[RunProgress, run_pb2.RunEvent], None]


async def watch(session: Session, tenant_id: str, run_id: str, after: int = 0) -> bool:
    """Show a run to its end, and say why if it fails; whether it completed. Raises ApiError."""
    progress = RunProgress(f"{tenant_id}/{run_id}")
    try:
        async with _view(session, progress) as on_event:
            await follow(session.client, progress, tenant_id, run_id, on_event, after=after)
    except asyncio.CancelledError:
        goes_on = "the run goes on: WatchRun shows it again, CancelRun stops it"
        click.echo(hints.in_commands(goes_on, {"run_id": run_id}), err=True)
        raise
    error = progress.run.error
    if error.message:
        step = f"step {error.step}: " if error.step else ""
        click.echo(f"error: {step}{hints.in_commands(error.message)}", err=True)
        click.echo(f"reason: {error.reason}", err=True)
    elif progress.completed and session.on_terminal:
        files = "ListArtifacts lists its files, DownloadArtifact shows one"
        click.echo(hints.in_commands(files, {"run_id": run_id}), err=True)
    return progress.completed


async def follow(
    client: Client,
    progress: RunProgress,
    tenant_id: str,
    run_id: str,
    on_event: OnEvent,
    *,
    after: int = 0,
) -> None:
    """Keep `progress` up to date to the run's end; `on_event` is called after each event."""

    def cut(error: ApiError) -> None:
        broken = f"{progress.title}: the connection is broken ({error.message})"
        click.echo(f"{broken}; reconnecting for a minute", err=True)

    def resumed(seconds: float) -> None:
        restored = f"{progress.title}: reconnected after {seconds:.1f} s, no event is lost"
        click.echo(restored, err=True)

    watching = client.watch_run(tenant_id, run_id, after, on_cut=cut, on_resumed=resumed)
    async with aclosing(watching) as events:
        async for event in events:
            progress.apply(event)
            on_event(progress, event)


def live_table(shown: Sequence[RunProgress]) -> AbstractAsyncContextManager[OnEvent]:
    """A table of runs that is redrawn on the terminal as long as the block lasts."""
    # Only here, because loading rich takes as long as loading click.
    live = importlib.import_module("nagaya_client.cli.live_table")
    return live.live_table(shown)


def print_event(progress: RunProgress, event: run_pb2.RunEvent) -> None:
    """Print an event as one line for people."""
    if event.WhichOneof("event") == "run":
        click.echo("  ".join(filter(None, (progress.heading(), progress.waits))))
        return
    row = run_progress.row(event.step)
    usage = [row.model, f"{row.tokens} tokens" if row.tokens else "", row.cost]
    took = f"{row.seconds} s" if row.seconds and event.step.HasField("end_time") else ""
    words = [f"{progress.title}  {row.step:<10} {row.item:>3}  {row.state:<9}", *usage, took]
    click.echo("  ".join(filter(None, words)).rstrip())


def _view(session: Session, progress: RunProgress) -> AbstractAsyncContextManager[OnEvent]:
    match session.asked_format:
        case "jsonl":
            return nullcontext(_print_json)
        case "json" | "yaml" | "id":
            return nullcontext(_print_nothing)
        case "table" if not session.on_terminal:
            return nullcontext(print_event)
        case _:
            return live_table([progress]) if session.on_terminal else nullcontext(_print_json)


def _print_json(_: RunProgress, event: run_pb2.RunEvent) -> None:
    click.echo(json_line(event))


def _print_nothing(_: RunProgress, event: run_pb2.RunEvent) -> None:
    del event
