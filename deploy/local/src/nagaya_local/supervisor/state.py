"""The stack's state: written to a file by the supervisor, read by every command."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from nagaya_local.machine import files
from nagaya_local.machine.processes import ProcessId

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nagaya_local.clone.layout import Layout

SUPERVISOR = "supervisor"


class Phase(StrEnum):
    """The state of the stack as a whole."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


class PartState(StrEnum):
    """The state of one part; UNWATCHED: it runs, its supervisor does not."""

    WAITING = "waiting"
    PREPARING = "preparing"
    STARTING = "starting"
    READY = "ready"
    UNREADY = "unready"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"
    UNWATCHED = "unwatched"


@dataclass(frozen=True, slots=True)
class PartStatus:
    """One part, as `status` shows it."""

    name: str
    state: PartState = PartState.WAITING
    address: str = ""
    external: bool = False
    process: ProcessId | None = None
    restarts: int = 0
    restart_reason: str = ""
    """Why it was started again, the last time; empty if it never was."""
    ready_after: float | None = None
    """Seconds from its start to its readiness, the last time."""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the stack did not start."""

    message: str
    remedy: str
    log_tail: tuple[str, ...] = ()
    exit_code: int = 1


@dataclass(frozen=True, slots=True)
class StackState:
    """The whole stack, as `state.json` holds it."""

    phase: Phase
    supervisor: ProcessId | None = None
    since: float = 0.0
    choices: str = ""
    """A digest of what the environment chose: other choices need a restart."""
    parts: tuple[PartStatus, ...] = ()
    notes: tuple[str, ...] = ()
    failure: Failure | None = None

    @property
    def supervised(self) -> bool:
        """Whether the supervisor that wrote this is alive."""
        return self.supervisor is not None and self.supervisor.alive

    @property
    def ready(self) -> bool:
        """Whether it runs, and every part does its work."""
        ready = all(part.state is PartState.READY for part in self.parts)
        return self.phase is Phase.RUNNING and ready

    def is_by(self, pid: int) -> bool:
        return self.supervisor is not None and self.supervisor.pid == pid


def read_state(layout: Layout) -> StackState:
    """Return the last state written; a stopped stack if there has been none."""
    if not layout.state.exists():
        return StackState(Phase.STOPPED)
    raw: dict[str, Any] = json.loads(layout.state.read_text())
    failure = raw["failure"]
    return StackState(
        phase=Phase(raw["phase"]),
        supervisor=_process_id(raw["supervisor"]),
        since=raw["since"],
        choices=raw["choices"],
        parts=tuple(_part(part) for part in raw["parts"]),
        notes=tuple(raw["notes"]),
        failure=failure and Failure(**failure | {"log_tail": tuple(failure["log_tail"])}),
    )


@dataclass(slots=True)
class StateFile:
    """The supervisor's state, written to `state.json` at every change."""

    layout: Layout
    state: StackState
    _parts: dict[str, PartStatus] = field(init=False)

    def __post_init__(self) -> None:
        self._parts = {part.name: part for part in self.state.parts}
        self._write()

    def part(self, name: str) -> PartStatus:
        return self._parts[name]

    def set_part(self, part: PartStatus) -> None:
        self._parts[part.name] = part
        self.state = replace(self.state, parts=tuple(self._parts.values()))
        self._write()

    def set_phase(self, phase: Phase) -> None:
        self.state = replace(self.state, phase=phase, since=time.time())
        self._write()

    def set_failure(self, failure: Failure) -> None:
        self.state = replace(self.state, phase=Phase.FAILED, failure=failure)
        self._write()

    def set_parts(self, parts: Iterable[PartStatus], notes: tuple[str, ...], choices: str) -> None:
        """Record the parts that are going to be started."""
        self._parts = {part.name: part for part in parts}
        self.state = replace(
            self.state, parts=tuple(self._parts.values()), notes=notes, choices=choices
        )
        self._write()

    def _write(self) -> None:
        files.write_private(self.layout.state, json.dumps(asdict(self.state)) + "\n")
        write_pids(self.layout, self.state)


def current_state(layout: Layout) -> StackState:
    """Return the last state written, corrected by which processes live: kill -9 writes nothing."""
    state = read_state(layout)
    if state.supervised:
        return state
    parts = tuple(_unsupervised(part) for part in state.parts)
    phase = Phase.FAILED if state.failure is not None else Phase.STOPPED
    return replace(state, phase=phase, supervisor=None, parts=parts)


def clear_processes(layout: Layout) -> None:
    """Write that nothing runs any more."""
    state = current_state(layout)
    files.write_private(layout.state, json.dumps(asdict(state)) + "\n")
    write_pids(layout, state)


def write_pids(layout: Layout, state: StackState) -> None:
    """Write the process ids of everything that runs, by name."""
    pids = {part.name: part.process.pid for part in state.parts if part.process is not None}
    if state.supervisor is not None and state.phase not in (Phase.STOPPED, Phase.FAILED):
        pids[SUPERVISOR] = state.supervisor.pid
    files.write_private(layout.pids, json.dumps(pids, indent=2) + "\n")


def _unsupervised(part: PartStatus) -> PartStatus:
    if part.process is not None and part.process.alive:
        return replace(part, state=PartState.UNWATCHED, detail="its supervisor is gone")
    state = PartState.FAILED if part.state is PartState.FAILED else PartState.STOPPED
    return replace(part, state=state, process=None)


def _part(raw: dict[str, Any]) -> PartStatus:
    status = PartStatus(**raw)
    process = _process_id(raw["process"])
    return replace(status, state=PartState(raw["state"]), process=process)


def _process_id(raw: dict[str, Any] | None) -> ProcessId | None:
    return None if raw is None else ProcessId(**raw)
