"""`up`: starts the stack behind a supervisor that outlives the command."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

from nagaya_local.clone.choices import Choices
from nagaya_local.clone.endpoints import Endpoints
from nagaya_local.commands.preflight import check_machine
from nagaya_local.commands.progress import follow_recovery, follow_start
from nagaya_local.commands.stop import down
from nagaya_local.errors import SupervisorGone
from nagaya_local.machine.locks import is_held
from nagaya_local.machine.ports import PortBook
from nagaya_local.machine.waiting import until
from nagaya_local.names import check_parts
from nagaya_local.supervisor.state import Phase, current_state, read_state

if TYPE_CHECKING:
    from collections.abc import Callable

    from nagaya_local.clone.layout import Layout


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
    await _wait_for_stop(layout, choices, report)
    if current_state(layout).phase is Phase.RUNNING:
        await follow_recovery(layout, report)
        if not parts:
            await _set_provider_addresses(layout)
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


async def _set_provider_addresses(layout: Layout) -> None:
    """Set the catalogue's addresses as a start does, and wait until they hold."""
    from nagaya_local.supervisor.provider_addresses import (  # noqa: PLC0415 - loads gRPC
        CATALOG_SECONDS,
        set_provider_addresses,
    )

    if await set_provider_addresses(layout):
        await asyncio.sleep(CATALOG_SECONDS)


async def _wait_for_stop(layout: Layout, choices: Choices, report: Callable[[str], None]) -> None:
    """Wait for a stack that is ending, and end one that runs with other choices."""
    state = current_state(layout)
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
