"""Processes that a supervisor left behind when it was killed itself."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

from nagaya_local.machine import processes
from nagaya_local.machine.programs import Stopping
from nagaya_local.parts.postgres_account import ServerAccount, running_server
from nagaya_local.supervisor.state import read_state

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nagaya_local.clone.layout import Layout
    from nagaya_local.machine.processes import ProcessId

# SIGINT ends all of them in order, PostgreSQL included, for which SIGTERM means waiting.
_STOPPING = Stopping(signal.SIGINT, 15.0)


def find_orphans(layout: Layout) -> tuple[ProcessId, ...]:
    """Find the stack's processes: remembered, marked, or named by PostgreSQL's own pid file.

    Call it while no supervisor runs, or from the one that has just taken its place.
    """
    state = read_state(layout)
    remembered = [part.process for part in state.parts if part.process is not None]
    server = running_server(ServerAccount.choose(layout.postgres).folder / "data")
    known = {*remembered, *processes.find_marked(layout.root), *([server] if server else [])}
    return tuple(process for process in known if process.alive and process.pid != os.getpid())


async def terminate(orphans: Iterable[ProcessId]) -> None:
    """End processes, all at once."""
    await asyncio.gather(*(processes.terminate(process, _STOPPING) for process in orphans))
