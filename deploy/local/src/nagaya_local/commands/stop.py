"""`down` and `clean`."""

from __future__ import annotations

import asyncio
import shutil
import signal
import time
from typing import TYPE_CHECKING

from nagaya_local.errors import StackBusy
from nagaya_local.machine.locks import Lock, is_held
from nagaya_local.machine.processes import send_signal
from nagaya_local.machine.waiting import until
from nagaya_local.parts.postgres_account import ServerAccount
from nagaya_local.supervisor.orphans import find_orphans, terminate
from nagaya_local.supervisor.state import PartState, Phase, clear_processes, read_state

if TYPE_CHECKING:
    from collections.abc import Callable

    from nagaya_local.clone.layout import Layout
    from nagaya_local.machine.processes import ProcessId

_POLL_SECONDS = 0.05
_LATE_SECONDS = 1.0
# It does nothing that takes longer without going on listening.
_RESPONSE_SECONDS = 15.0
_STOP_SECONDS = 180.0
_LOCK_SECONDS = 5.0


async def down(layout: Layout, report: Callable[[str], None]) -> None:
    """End everything of the stack, also what a killed supervisor left. Data is kept.

    A supervisor that hangs is killed, and its parts are ended one by one.

    Raises StackBusy when somebody starts it at the same time.
    """
    if not layout.data.exists():
        report("nothing runs")
        return
    if is_held(layout.lock):
        report("stopping")
        await _end_supervisor(layout, report)
    lock = Lock(layout.lock)
    try:
        if not await lock.take_within(_LOCK_SECONDS):
            raise StackBusy("another command starts the stack", "Wait for it, then try again.")
        orphans = find_orphans(layout)
        if orphans:
            report(f"ending {len(orphans)} processes that their supervisor left behind")
        await terminate(orphans)
        clear_processes(layout)
    finally:
        lock.close()
    report("nothing runs")


async def clean(
    layout: Layout, report: Callable[[str], None], agreed: Callable[[str], bool]
) -> bool:
    """Stop the stack and delete all its data, if `agreed` says yes; whether it did."""
    if not layout.data.exists():
        report("there is nothing to delete")
        return True
    question = f"Delete {layout.data} with every tenant's database, object and key?"
    if not _ask(agreed, question):
        report("nothing was deleted")
        return False
    await down(layout, report)
    database = ServerAccount.choose(layout.postgres).folder  # perhaps outside of the clone
    for folder in {layout.data, database}:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=folder == database)
    report(f"{layout.data} is gone")
    return True


async def _end_supervisor(layout: Layout, report: Callable[[str], None]) -> None:
    """Tell the supervisor to end everything in order; kill one that hangs."""
    while is_held(layout.lock):
        supervisor = read_state(layout).supervisor
        if supervisor is None or not supervisor.alive:  # the next one has not said who it is
            await asyncio.sleep(_POLL_SECONDS)
            continue
        send_signal(supervisor.pid, signal.SIGTERM)
        if not await until(lambda one=supervisor: _is_stopping(layout, one), _RESPONSE_SECONDS):
            report(
                f"the supervisor, process {supervisor.pid}, has not reacted for "
                f"{_RESPONSE_SECONDS:.0f} s: killing it, and ending its parts without it"
            )
        elif await _wait_until_ended(layout, supervisor, report):
            continue
        send_signal(supervisor.pid, signal.SIGKILL)
        await until(lambda one=supervisor: not one.alive)


async def _wait_until_ended(
    layout: Layout, supervisor: ProcessId, report: Callable[[str], None]
) -> bool:
    """Report each part that takes long to stop, and why; False when the supervisor hangs."""
    since, reported = time.monotonic(), set[str]()
    waited: dict[str, float] = {}
    while supervisor.alive:
        now = time.monotonic()
        if now - since > _STOP_SECONDS:
            return False
        for part in read_state(layout).parts:
            if part.state is not PartState.STOPPING:
                continue
            late = now - waited.setdefault(part.name, now) > _LATE_SECONDS
            if late and part.name not in reported:
                reported.add(part.name)
                report(f"waiting for {part.name}: {part.detail}")
        await asyncio.sleep(_POLL_SECONDS)
    return True


def _is_stopping(layout: Layout, supervisor: ProcessId) -> bool:
    """Whether a supervisor that was told to end has begun to."""
    working = (Phase.STARTING, Phase.RUNNING)
    return not supervisor.alive or read_state(layout).phase not in working


def _ask(agreed: Callable[[str], bool], question: str) -> bool:
    """Ask with Ctrl-C as it is elsewhere: an event loop would only make a note of it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return agreed(question)
    finally:
        signal.signal(signal.SIGINT, before)
