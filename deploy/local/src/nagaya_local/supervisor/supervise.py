"""The detached process behind `up`: `python -m nagaya_local.supervisor.supervise <root> [part …]`.

It writes what it does to `var/dev/state.json`, holds a lock as long as it lives, and ends
everything it started on SIGTERM.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

from nagaya_local.clone.choices import Choices
from nagaya_local.clone.layout import Layout
from nagaya_local.clone.tokens import renew_old_tokens, renew_tokens
from nagaya_local.errors import LocalError
from nagaya_local.machine.locks import Lock
from nagaya_local.machine.ports import PortBook
from nagaya_local.machine.processes import ProcessId
from nagaya_local.names import PORTS
from nagaya_local.parts.part import External, Part, select
from nagaya_local.supervisor.orphans import find_orphans, terminate
from nagaya_local.supervisor.stack import Stack
from nagaya_local.supervisor.stack_supervisor import StackSupervisor
from nagaya_local.supervisor.state import Failure, PartStatus, Phase, StackState, StateFile

BUSY = 3
"""Exit status when another supervisor has the stack."""

_LOCK_SECONDS = 2.0
_TOKENS_SECONDS = 30.0


async def supervise(layout: Layout, names: tuple[str, ...]) -> int:
    """Run the stack, or the named parts of it, until told to stop; returns the exit status."""
    began = time.time()
    lock = Lock(layout.lock)
    if not await lock.take_within(_LOCK_SECONDS) or _another_ran(layout, began):
        return BUSY
    orphans = find_orphans(layout)
    itself = ProcessId.of(os.getpid())
    state = StateFile(layout, StackState(Phase.STARTING, itself, time.time()))
    try:
        await terminate(orphans)
        await _run(layout, state, names)
    except LocalError as error:
        state.set_failure(Failure(error.message, error.remedy, error.log_tail, error.exit_code))
        return 1
    state.set_phase(Phase.STOPPED)
    return 0


def _another_ran(layout: Layout, began: float) -> bool:
    """Whether another supervisor had the stack while this one waited: it was told to end it."""
    return layout.state.exists() and layout.state.stat().st_mtime > began


async def _run(layout: Layout, state: StateFile, names: tuple[str, ...]) -> None:
    with closing(PortBook(layout.ports)) as book:
        await _run_on(book, layout, state, names)


async def _run_on(book: PortBook, layout: Layout, state: StateFile, names: tuple[str, ...]) -> None:
    choices = Choices.read(os.environ, book.known, names)
    ports, moved = book.assign(PORTS)
    stack = Stack(layout, choices, ports)
    stack.prepare()
    renew_tokens(layout)
    stack.endpoints.write(layout.endpoints)
    parts = select(stack.parts(), names)
    state.set_parts(map(_status, parts), moved, choices.digest)
    supervisor = StackSupervisor(parts, layout, state, None if names else stack.finish)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, supervisor.stop)
    over = threading.Event()
    tokens = asyncio.create_task(_keep_tokens(layout, over))
    try:
        await supervisor.run()
    finally:
        over.set()  # the thread does not end with its task
        tokens.cancel()
    stack.clean_up()


async def _keep_tokens(layout: Layout, over: threading.Event) -> None:
    """Renew tokens in time; what fails is in the supervisor's log, and tried again."""
    while True:
        await asyncio.sleep(_TOKENS_SECONDS)
        try:
            failures = await asyncio.to_thread(renew_old_tokens, layout, over)
        except (OSError, ValueError) as error:
            failures = [f"tokens could not be renewed: {error}"]
        for why in failures:
            sys.stderr.write(why + "\n")


def _status(part: Part) -> PartStatus:
    external = isinstance(part.program, External)
    return PartStatus(part.name, address=part.address, external=external)


if __name__ == "__main__":
    sys.exit(asyncio.run(supervise(Layout(Path(sys.argv[1])), tuple(sys.argv[2:]))))
