"""Parts that live and say nothing: they are killed and started again, and nobody else is."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.support.scripts import Beating

from nagaya_local.clone.choices import Choices
from nagaya_local.clone.layout import Layout
from nagaya_local.clone.tokens import renew_tokens
from nagaya_local.commands import status, status_lines
from nagaya_local.errors import NotReady, Unresponsive
from nagaya_local.machine import processes
from nagaya_local.machine.ports import PortBook, free_port
from nagaya_local.machine.processes import ProcessId
from nagaya_local.machine.running import start
from nagaya_local.machine.waiting import until
from nagaya_local.names import PARTS, PORTS
from nagaya_local.parts.health import EventLoopProbe
from nagaya_local.parts.part import Part
from nagaya_local.parts.services import PythonProgram
from nagaya_local.supervisor.hang_timer import HangTimer
from nagaya_local.supervisor.stack import Stack
from nagaya_local.supervisor.stack_supervisor import StackSupervisor
from nagaya_local.supervisor.state import PartState, PartStatus, Phase, StackState, StateFile

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from pathlib import Path

_STARTS_A_CHILD_ONCE = """
import subprocess
note = os.path.join(folder, "child")
if not os.path.exists(note):
    child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"],
                             start_new_session=True)
    with open(note, "w") as file:
        file.write(str(child.pid))
"""
_LOOP_THAT_CAN_BE_STOPPED = """
import asyncio, signal, sys, time
from prometheus_client import start_http_server
from monitoring.event_loop import EventLoopWatch

async def main():
    start_http_server(int(sys.argv[1]), addr="127.0.0.1")
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, time.sleep, 600)
    await EventLoopWatch().run()

asyncio.run(main())
"""


@contextlib.asynccontextmanager
async def _supervised(layout: Layout, parts: Sequence[Part]) -> AsyncGenerator[StateFile]:
    """Run parts until all are ready; stop them at the end of the block."""
    state_file = StateFile(
        layout, StackState(Phase.STARTING, ProcessId.of(os.getpid()), time.time())
    )
    state_file.set_parts((PartStatus(part.name) for part in parts), (), "")
    supervisor = StackSupervisor(parts, layout, state_file)
    keeping = asyncio.create_task(supervisor.run())
    assert await until(lambda: state_file.state.phase is Phase.RUNNING or keeping.done(), 90)
    try:
        yield state_file
    finally:
        supervisor.stop()
        await keeping


def _freeze(state_file: StateFile, *names: str) -> None:
    for name in names:
        process = state_file.part(name).process
        assert process is not None
        os.kill(process.pid, signal.SIGSTOP)


def _are_back(state_file: StateFile, names: Sequence[str]) -> bool:
    parts = [state_file.part(name) for name in names]
    return all(part.restarts == 1 and part.state is PartState.READY for part in parts)


@pytest.mark.timeout(240)
async def test_every_part_that_hangs_is_started_again_and_no_other(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    book = PortBook(layout.ports)
    stack = Stack(layout, Choices.read({}, {}), book.assign(PORTS)[0])
    stack.prepare()
    renew_tokens(layout)
    parts = [replace(part, hang_seconds=6.0) for part in stack.parts()]
    async with _supervised(layout, parts) as state_file:
        _freeze(state_file, "tenant")
        assert await until(lambda: _are_back(state_file, ["tenant"]), 60)
        restarts = {part.name: part.restarts for part in state_file.state.parts}
        assert restarts == dict.fromkeys(PARTS, 0) | {"tenant": 1}

        others = [name for name in PARTS if name != "tenant"]
        _freeze(state_file, *others)
        assert await until(lambda: _are_back(state_file, others), 90), "\n".join(
            status_lines(status(layout))
        )
        assert state_file.part("tenant").restarts == 1
    book.close()


async def test_the_status_says_why_a_part_was_started_again(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    part = Part("one", Beating("one", tmp_path), hang_seconds=1.0)
    async with _supervised(layout, [part]) as state_file:
        _freeze(state_file, "one")
        assert await until(lambda: _are_back(state_file, ["one"]), 30)

        shown = "\n".join(status_lines(status(layout)))
        assert "restarts 1" in shown
        assert "started again, because it gave no sign of life for " in shown
        assert "s: no heartbeat" in shown


async def test_what_a_hanging_part_has_started_is_killed_too(tmp_path: Path) -> None:
    part = Part("one", Beating("one", tmp_path, _STARTS_A_CHILD_ONCE), hang_seconds=1.0)
    async with _supervised(Layout(tmp_path), [part]) as state_file:
        child = ProcessId.of(int((tmp_path / "child").read_text()))
        assert child.alive
        _freeze(state_file, "one")

        assert await until(lambda: _are_back(state_file, ["one"]), 30)
        assert not child.alive


async def test_a_part_that_says_what_it_lacks_is_left_alone(tmp_path: Path) -> None:
    class Lacking(Beating):
        lacks = asyncio.Event()
        asked = 0

        async def probe(self) -> None:
            if self.lacks.is_set():
                self.asked += 1
                raise NotReady("its database is away")
            await super().probe()

    lacking = Lacking("one", tmp_path)
    async with _supervised(
        Layout(tmp_path), [Part("one", lacking, hang_seconds=0.5)]
    ) as state_file:
        lacking.lacks.set()
        assert await until(lambda: lacking.asked == 4, 30)  # three seconds, six times too long
        assert state_file.part("one").state is PartState.UNREADY
        assert state_file.part("one").restarts == 0
        lacking.lacks.clear()
        assert await until(lambda: state_file.part("one").state is PartState.READY, 30)


def test_time_in_which_nobody_ran_does_not_count() -> None:
    timer = HangTimer(longest_probe=0.1)
    assert timer.add_failure() == 0.0
    time.sleep(0.5)
    assert timer.add_failure() == 0.1
    timer.reset()
    assert timer.add_failure() == 0.0


async def test_a_loop_that_stands_still_is_noticed_though_its_metrics_answer(
    tmp_path: Path,
) -> None:
    (tmp_path / "ticking.py").write_text(_LOOP_THAT_CAN_BE_STOPPED)
    port = free_port()
    asks = EventLoopProbe(port)
    settings = {"PYTHONPATH": str(tmp_path)}
    program = PythonProgram("ticking", tmp_path, settings, asks, (str(port),))
    process = await start(program, tmp_path / "ticking.log")
    try:
        for _ in range(3):  # as long as it goes on, however often it is asked
            await asyncio.sleep(1)
            await asks()
        process.send_signal(signal.SIGUSR1)
        await asyncio.sleep(1)  # it is told between two ticks, or after one that came late
        await asks()
        await asyncio.sleep(3)
        with pytest.raises(Unresponsive, match="event loop has stood still"):
            await asks()
    finally:
        await processes.stop(process, program.stopping)
