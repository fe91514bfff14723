"""What a person can ask of the stack; `report` hears one line after the other."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

from nagaya_local.clone.choices import Choices
from nagaya_local.clone.endpoints import Endpoints
from nagaya_local.commands.following import follow_logs, follow_recovery, follow_start
from nagaya_local.commands.preflight import check_machine
from nagaya_local.errors import StackBusy, SupervisorGone, UsageInvalid
from nagaya_local.machine.locks import Lock, is_held
from nagaya_local.machine.ports import PortBook
from nagaya_local.machine.processes import tell
from nagaya_local.machine.waiting import until
from nagaya_local.names import check_parts
from nagaya_local.parts.postgres_account import ServerAccount
from nagaya_local.supervisor.leftovers import end, find_leftovers
from nagaya_local.supervisor.state import Phase, StackState, forget_processes, observe, read_state

if TYPE_CHECKING:
    from collections.abc import Callable

    from nagaya_local.clone.layout import Layout

_POLL_SECONDS = 0.05
_STOP_SECONDS = 120.0
_LOCK_SECONDS = 5.0


async def up(
    layout: Layout, report: Callable[[str], None], parts: tuple[str, ...] = ()
) -> Endpoints:
    """Start what does not run, wait until everything is ready, return the addresses.

    `parts` names the only ones to run; the addresses of the others lead nowhere then.

    Raises LocalError naming what cannot start. Whatever this call started is stopped again then,
    and when it is cancelled.
    """
    began = time.monotonic()
    check_parts(parts)
    choices = Choices.read(os.environ, PortBook(layout.ports).known, parts)
    check_machine(layout, choices)
    await _let_finish(layout, choices, report)
    if observe(layout).phase is Phase.RUNNING:
        await follow_recovery(layout, report)
        report("everything runs already")
        return Endpoints.read(layout.endpoints)
    started = None if is_held(layout.lock) else _start_supervisor(layout, parts)
    try:
        await follow_start(layout, report, started)
    except BaseException as error:
        if started is not None:
            started.terminate()  # at once: a second Ctrl-C would end the orderly way
            report("stopping what was started")
            await down(layout, lambda _: None)
        elif isinstance(error, SupervisorGone):
            return await up(layout, report, parts)  # it was ending when it was found
        raise
    report(f"everything is ready after {time.monotonic() - began:.1f} s")
    return Endpoints.read(layout.endpoints)


async def down(layout: Layout, report: Callable[[str], None]) -> None:
    """End everything of the stack, also what a killed supervisor left. Data is kept.

    Raises StackBusy when somebody starts it at the same time.
    """
    if not layout.data.exists():
        report("nothing runs")
        return
    if is_held(layout.lock):
        report("stopping")
        await _end_supervisor(layout)
    lock = Lock(layout.lock)
    try:
        if not await lock.take_within(_LOCK_SECONDS):
            raise StackBusy("another command starts the stack", "Wait for it, then try again.")
        leftovers = find_leftovers(layout)
        if leftovers:
            report(f"ending {len(leftovers)} processes that their supervisor left behind")
        await end(leftovers)
        forget_processes(layout)
    finally:
        lock.close()
    report("nothing runs")


async def status(layout: Layout) -> StackState:
    """Return the stack's state as it is now."""
    return observe(layout)


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
    await follow_logs(chosen, report, lines=lines, follow=follow)


async def clean(
    layout: Layout, report: Callable[[str], None], agreed: Callable[[str], bool]
) -> bool:
    """Stop the stack and delete all its data, if `agreed` says yes; whether it did."""
    if not layout.data.exists():
        report("there is nothing to delete")
        return True
    question = f"Delete {layout.data} with every tenant's database, object and key?"
    if not _asked(agreed, question):
        report("nothing was deleted")
        return False
    await down(layout, report)
    elsewhere = ServerAccount.choose(layout.postgres).folder
    for folder in {layout.data, elsewhere}:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=folder == elsewhere)
    report(f"{layout.data} is gone")
    return True


def _asked(agreed: Callable[[str], bool], question: str) -> bool:
    """Ask with Ctrl-C as it is elsewhere: an event loop would only make a note of it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return agreed(question)
    finally:
        signal.signal(signal.SIGINT, before)


async def _let_finish(layout: Layout, choices: Choices, report: Callable[[str], None]) -> None:
    """Wait for a stack that is ending, and end one that runs with other choices."""
    state = observe(layout)
    if state.phase is Phase.RUNNING and state.choices != choices.digest:
        report("other parts, servers or provider keys are chosen now: starting anew")
        await down(layout, report)
    coming = (Phase.STARTING, Phase.RUNNING)
    await until(lambda: not is_held(layout.lock) or read_state(layout).phase in coming)


def _start_supervisor(layout: Layout, parts: tuple[str, ...]) -> subprocess.Popen[bytes]:
    log = layout.log("supervisor")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        started = subprocess.Popen(
            [sys.executable, "-m", "nagaya_local.supervisor.supervise", str(layout.root), *parts],
            cwd=layout.root,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the command, which then ends it in order
        )
    # It outlives most callers; one that lives longer must not keep its remains.
    threading.Thread(target=started.wait, daemon=True).start()
    return started


async def _end_supervisor(layout: Layout) -> None:
    deadline = time.monotonic() + _STOP_SECONDS
    told: int | None = None
    while is_held(layout.lock):
        supervisor = read_state(layout).supervisor
        if supervisor is not None and supervisor.alive:
            late = time.monotonic() > deadline
            if late or supervisor.pid != told:
                tell(supervisor.pid, signal.SIGKILL if late else signal.SIGTERM)
            told = supervisor.pid
        await asyncio.sleep(_POLL_SECONDS)
