"""Progress of the supervisor, and the parts' logs, as lines for people."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from nagaya_local.errors import (
    LocalError,
    PartFailed,
    StackBusy,
    StartFailed,
    SupervisorGone,
    UsageInvalid,
)
from nagaya_local.machine import files
from nagaya_local.machine.locks import is_held
from nagaya_local.supervisor.state import (
    Failure,
    PartState,
    PartStatus,
    Phase,
    read_state,
)

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from nagaya_local.clone.layout import Layout

_POLL_SECONDS = 0.1
# A part that hangs is noticed and started again within 50 s.
_RECOVERY_SECONDS = 90.0
_REPORTED = (PartState.READY, PartState.RESTARTING, PartState.FAILED)


async def follow_start(
    layout: Layout, report: Callable[[str], None], started: subprocess.Popen[bytes] | None
) -> None:
    """Report each part as it becomes ready, until all are. Raises StartFailed, and StackBusy.

    `started` is the supervisor that this command has started, if it has.
    """
    reported: dict[str, tuple[PartState, str]] = {}
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
                _report_change(part, reported, report)
        if state.supervised and state.phase is Phase.RUNNING:
            return
        if not lives:
            raise _failed(layout, state.failure if fresh else None, started)
        await asyncio.sleep(_POLL_SECONDS)


async def follow_recovery(layout: Layout, report: Callable[[str], None]) -> None:
    """Report each part of a running stack as it becomes ready again. Raises PartFailed."""
    reported = {part.name: (part.state, part.detail) for part in _unready(layout)}
    for name, (state, detail) in reported.items():
        report(f"{name:<12} {state.value}  {detail}".rstrip())
    deadline = time.monotonic() + _RECOVERY_SECONDS
    while unready := _unready(layout):
        if time.monotonic() > deadline:
            raise PartFailed(
                f"{unready[0].name} is {unready[0].state.value}: {unready[0].detail}",
                f"Read {layout.log(unready[0].name)}.",
                files.tail(layout.log(unready[0].name), 15),
            )
        await asyncio.sleep(_POLL_SECONDS)
        for part in read_state(layout).parts:
            if part.name in reported:
                _report_change(part, reported, report)


async def logs(
    layout: Layout,
    report: Callable[[str], None],
    part: str | None = None,
    *,
    lines: int = 50,
    follow: bool = False,
) -> None:
    """Report the last lines of a part's log, or of all; with `follow` until cancelled.

    Raises UsageInvalid when there is no such part.
    """
    found = {path.stem: path for path in sorted(layout.log("x").parent.glob("*.log"))}
    if part is not None and part not in found:
        known = ", ".join(found) or "none yet"
        raise UsageInvalid(f"there is no log of {part!r}", f"There are logs of: {known}.")
    chosen = found if part is None else {part: found[part]}
    await _follow_logs(chosen, report, lines=lines, follow=follow)


async def _follow_logs(
    paths: dict[str, Path], report: Callable[[str], None], *, lines: int, follow: bool
) -> None:
    """Report the last lines of each log and, with `follow`, the new ones until cancelled."""
    prefixed = len(paths) > 1
    positions: dict[str, int] = {}
    for name, path in paths.items():
        positions[name] = files.size(path)
        for line in files.tail(path, lines):
            report(f"{name} | {line}" if prefixed else line)
    while follow:
        await asyncio.sleep(_POLL_SECONDS)
        for name, path in paths.items():
            fresh, positions[name] = files.read_on(path, positions[name])
            for line in fresh:
                report(f"{name} | {line}" if prefixed else line)


def _unready(layout: Layout) -> list[PartStatus]:
    return [part for part in read_state(layout).parts if part.state is not PartState.READY]


def _report_change(
    part: PartStatus, reported: dict[str, tuple[PartState, str]], report: Callable[[str], None]
) -> None:
    news = (part.state, part.detail)
    if reported.get(part.name) == news or not (part.state in _REPORTED or part.detail):
        return
    reported[part.name] = news
    if part.state is PartState.READY:
        took = "" if part.external else f" in {part.ready_after:.1f} s"
        report(f"{part.name:<12} ready{took}  {part.address}".rstrip())
    else:
        report(f"{part.name:<12} {part.state.value}  {part.detail}".rstrip())


def _failed(
    layout: Layout, failure: Failure | None, started: subprocess.Popen[bytes] | None
) -> LocalError:
    if failure is not None:
        failed = StartFailed(failure.message, failure.remedy, failure.log_tail)
        failed.exit_code = failure.exit_code
        return failed
    if started is not None and started.poll() == 0:  # in order, as it does when it is reported to
        return StackBusy(
            "another command stopped the stack while it started", "`nagaya dev up` starts it again."
        )
    return SupervisorGone(
        "the supervisor ended without a word",
        f"Read {layout.log('supervisor')}; `nagaya dev up` starts it anew.",
        files.tail(layout.log("supervisor"), 15),
    )
