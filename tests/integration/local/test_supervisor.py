"""Starting, watching and stopping parts."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING

import pytest
from tests.support.scripts import READY_AND_WAIT, Script

from nagaya_local.clone.layout import Layout
from nagaya_local.errors import PartFailed
from nagaya_local.machine.waiting import until
from nagaya_local.parts.part import Part, start_order
from nagaya_local.supervisor.stack_supervisor import StackSupervisor
from nagaya_local.supervisor.state import (
    PartState,
    PartStatus,
    Phase,
    StackState,
    StateFile,
    read_state,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from pathlib import Path

_NOTES_ITS_END = """
def end(*_):
    with open(os.path.join(folder, "ends"), "a") as file:
        file.write(name + "\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
"""
_HOLDS_ON = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"


def _supervisor(folder: Path, parts: Sequence[Part]) -> tuple[StackSupervisor, StateFile]:
    layout = Layout(folder)
    state_file = StateFile(layout, StackState(Phase.STARTING, since=time.time()))
    state_file.set_parts((PartStatus(part.name) for part in parts), (), "")
    return StackSupervisor(parts, layout, state_file), state_file


@contextlib.asynccontextmanager
async def _run(folder: Path, *parts: Part) -> AsyncGenerator[StateFile]:
    """Run parts until all are ready; stop them at the end of the block."""
    supervisor, state_file = _supervisor(folder, parts)
    running = asyncio.create_task(supervisor.run())
    assert await until(lambda: state_file.state.phase is Phase.RUNNING or running.done(), 30)
    try:
        yield state_file
    finally:
        supervisor.stop()
        await running


def _pid(state_file: StateFile, name: str) -> int:
    process = state_file.part(name).process
    assert process is not None
    return process.pid


async def test_a_part_that_dies_is_started_again_and_counted(tmp_path: Path) -> None:
    async with _run(tmp_path, Part("one", Script("one", tmp_path))) as state_file:
        killed = _pid(state_file, "one")
        os.kill(killed, signal.SIGKILL)

        assert await until(
            lambda: (
                state_file.part("one").restarts == 1
                and state_file.part("one").state is PartState.READY
            ),
            15,
        )
        assert _pid(state_file, "one") != killed


async def test_a_part_starts_only_when_what_it_needs_is_ready(tmp_path: Path) -> None:
    slow = f"time.sleep(0.5); {READY_AND_WAIT}"
    asks = f"assert os.path.exists(os.path.join(folder, 'slow.ready')); {READY_AND_WAIT}"
    parts = (
        Part("asks", Script("asks", tmp_path, asks), needs=("slow",)),
        Part("slow", Script("slow", tmp_path, slow)),
    )

    async with _run(tmp_path, *parts) as state_file:
        assert state_file.part("asks").restarts == 0


async def test_parts_end_before_what_they_need(tmp_path: Path) -> None:
    body = _NOTES_ITS_END + READY_AND_WAIT
    parts = (
        Part("base", Script("base", tmp_path, body)),
        Part("middle", Script("middle", tmp_path, body), needs=("base",)),
        Part("top", Script("top", tmp_path, body), needs=("middle",)),
    )

    async with _run(tmp_path, *parts):
        pass

    assert (tmp_path / "ends").read_text().split() == ["top", "middle", "base"]


async def test_parts_end_before_what_they_ask_and_start_without_it(tmp_path: Path) -> None:
    slow = f"""
def end(*_):
    time.sleep(0.3)
    with open(os.path.join(folder, "ends"), "a") as file:
        file.write(name + "\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
{READY_AND_WAIT}"""
    quick = _NOTES_ITS_END + READY_AND_WAIT
    parts = (
        Part("peer", Script("peer", tmp_path, quick), needs=("base",)),
        Part("asks", Script("asks", tmp_path, slow), needs=("base",), uses=("peer",)),
        Part("base", Script("base", tmp_path, quick)),
    )
    assert [[part.name for part in wave] for wave in start_order(parts)] == [
        ["base"],
        ["peer", "asks"],
    ]

    async with _run(tmp_path, *parts):
        pass

    assert (tmp_path / "ends").read_text().split() == ["asks", "peer", "base"]


async def test_a_part_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    script = Script("deaf", tmp_path, _HOLDS_ON + READY_AND_WAIT)

    async with _run(tmp_path, Part("deaf", script)) as state_file:
        process = state_file.part("deaf").process

    assert process is not None
    assert not process.alive


async def test_a_part_that_cannot_start_is_named_with_its_last_lines_and_the_remedy(
    tmp_path: Path,
) -> None:
    broken = Script("broken", tmp_path, "print('no such file: settings'); sys.exit(4)")
    parts = (
        Part("well", Script("well", tmp_path)),
        Part("broken", broken, remedy="Write the settings."),
    )
    supervisor, state_file = _supervisor(tmp_path, parts)

    with pytest.raises(PartFailed) as failed:
        await supervisor.run()

    assert failed.value.message == "broken: exited with status 4"
    assert failed.value.remedy == "Write the settings."
    assert failed.value.log_tail[-1] == "no such file: settings"
    assert state_file.part("broken").state is PartState.FAILED
    assert state_file.part("well").process is None


async def test_a_part_that_never_becomes_ready_fails_by_its_own_time(tmp_path: Path) -> None:
    mute = Part("mute", Script("mute", tmp_path, "time.sleep(600)"), ready_seconds=0.5)
    supervisor, _ = _supervisor(tmp_path, (mute,))

    with pytest.raises(PartFailed, match=r"not ready after 0 s: it has not said so"):
        await supervisor.run()


async def test_the_state_on_disk_is_what_every_command_reads(tmp_path: Path) -> None:
    async with _run(tmp_path, Part("one", Script("one", tmp_path))) as state_file:
        assert read_state(Layout(tmp_path)) == state_file.state
        assert f'"one": {_pid(state_file, "one")}' in Layout(tmp_path).pids.read_text()

    assert Layout(tmp_path).pids.read_text() == "{}\n"


def test_parts_that_need_each_other_are_refused(tmp_path: Path) -> None:
    parts = (
        Part("hen", Script("hen", tmp_path), needs=("egg",)),
        Part("egg", Script("egg", tmp_path), needs=("hen",)),
    )

    with pytest.raises(ValueError, match="hen, egg"):
        start_order(parts)
