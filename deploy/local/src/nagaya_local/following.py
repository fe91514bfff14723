"""Telling a person what the supervisor does, while it does it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from nagaya_local import files
from nagaya_local.errors import StartFailed, SupervisorGone
from nagaya_local.locks import is_held
from nagaya_local.state import Failure, PartState, PartStatus, Phase, read_state

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from nagaya_local.layout import Layout

_POLL_SECONDS = 0.1
_TOLD = (PartState.READY, PartState.RESTARTING, PartState.FAILED)


async def follow_start(
    layout: Layout, report: Callable[[str], None], started: subprocess.Popen[bytes] | None
) -> None:
    """Report each part as it becomes ready, until all are. Raises StartFailed.

    `started` is the supervisor that this command has started, if it has.
    """
    told: dict[str, tuple[PartState, str]] = {}
    noted = 0
    while True:
        # Asked first: what a supervisor wrote before its end is read after.
        lives = is_held(layout.lock) or (started is not None and started.poll() is None)
        state = read_state(layout)
        fresh = state.supervised or (started is not None and state.is_by(started.pid))
        if fresh:
            for note in state.notes[noted:]:
                report(note)
            noted = len(state.notes)
            for part in state.parts:
                _tell(part, told, report)
        if state.supervised and state.phase is Phase.RUNNING:
            return
        if not lives:
            raise _failed(layout, state.failure if fresh else None)
        await asyncio.sleep(_POLL_SECONDS)


async def follow_logs(
    logs: dict[str, Path], report: Callable[[str], None], *, lines: int, follow: bool
) -> None:
    """Report the last lines of each log and, with `follow`, the new ones until cancelled."""
    prefixed = len(logs) > 1
    positions: dict[str, int] = {}
    for name, path in logs.items():
        positions[name] = files.size(path)
        for line in files.tail(path, lines):
            report(f"{name} | {line}" if prefixed else line)
    while follow:
        await asyncio.sleep(_POLL_SECONDS)
        for name, path in logs.items():
            fresh, positions[name] = files.read_on(path, positions[name])
            for line in fresh:
                report(f"{name} | {line}" if prefixed else line)


def _tell(
    part: PartStatus, told: dict[str, tuple[PartState, str]], report: Callable[[str], None]
) -> None:
    news = (part.state, part.detail)
    if told.get(part.name) == news or not (part.state in _TOLD or part.detail):
        return
    told[part.name] = news
    if part.state is PartState.READY:
        took = "" if part.external else f" in {part.ready_after:.1f} s"
        report(f"{part.name:<12} ready{took}  {part.address}".rstrip())
    else:
        report(f"{part.name:<12} {part.state.value}  {part.detail}".rstrip())


def _failed(layout: Layout, failure: Failure | None) -> StartFailed:
    if failure is not None:
        failed = StartFailed(failure.message, failure.remedy, failure.log_tail)
        failed.exit_code = failure.exit_code
        return failed
    return SupervisorGone(
        "the supervisor ended without a word",
        f"Read {layout.log('supervisor')}; `nagaya dev up` starts it anew.",
        files.tail(layout.log("supervisor"), 15),
    )
