"""`down` and `clean`, whatever state the stack is in."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from typing import TYPE_CHECKING

import asyncpg
import pytest

from nagaya_local import commands
from nagaya_local.machine.processes import find_marked
from nagaya_local.machine.waiting import until
from nagaya_local.supervisor.orphans import find_orphans
from nagaya_local.supervisor.state import PartState, Phase, current_state

if TYPE_CHECKING:
    from nagaya_local.clone.layout import Layout

_PARTS = ("postgres", "s3")


def _ignore(_: str) -> None:
    pass


def _pids(layout: Layout) -> dict[str, int]:
    return json.loads(layout.pids.read_text())


async def test_down_leaves_nothing_running_and_keeps_the_data(clone: Layout) -> None:
    endpoints = await commands.up(clone, _ignore, _PARTS)
    connection = await asyncpg.connect(endpoints.pg_url)
    await connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
    await connection.close()
    await commands.down(clone, _ignore)

    assert find_orphans(clone) == ()
    assert find_marked(clone.root) == ()
    assert _pids(clone) == {}
    again = await commands.up(clone, _ignore, _PARTS)
    assert again == endpoints
    connection = await asyncpg.connect(again.pg_url)
    assert await connection.fetchval("SELECT number FROM kept") == 7
    await connection.close()


async def test_down_ends_what_a_killed_supervisor_left(clone: Layout) -> None:
    await commands.up(clone, _ignore, _PARTS)
    processes = [part.process for part in commands.status(clone).parts]
    os.kill(_pids(clone)["supervisor"], signal.SIGKILL)
    await commands.down(clone, _ignore)

    assert not [process for process in processes if process is not None and process.alive]
    assert commands.status(clone).phase is Phase.STOPPED


async def test_down_ends_a_stack_whose_processes_are_stopped(clone: Layout) -> None:
    await commands.up(clone, _ignore, _PARTS)
    pids = _pids(clone)
    for pid in pids.values():
        os.kill(pid, signal.SIGSTOP)

    async with asyncio.timeout(30):  # far less than it takes until they would be killed
        await commands.down(clone, _ignore)

    assert find_orphans(clone) == ()


async def test_down_does_without_a_supervisor_that_hangs(clone: Layout) -> None:
    await commands.up(clone, _ignore, ("s3", "llmstub"))
    processes = [part.process for part in current_state(clone).parts]
    supervisor = current_state(clone).supervisor
    log = clone.log("llmstub")
    log.unlink()
    os.mkfifo(log)  # opening it waits for a reader, for ever
    os.kill(_pids(clone)["llmstub"], signal.SIGKILL)

    def hangs() -> bool:
        part = current_state(clone).parts[1]
        return (part.name, part.state, part.restarts) == ("llmstub", PartState.PREPARING, 1)

    assert await until(hangs, 10)
    lines: list[str] = []
    async with asyncio.timeout(35):
        await commands.down(clone, lines.append)

    assert supervisor is not None
    assert f"process {supervisor.pid}, has not reacted for 15 s" in lines[1]
    assert not [one for one in (supervisor, *processes) if one is not None and one.alive]
    assert find_orphans(clone) == ()
    assert _pids(clone) == {}


async def test_status_ends_with_6_unless_everything_is_ready(clone: Layout) -> None:
    clone.data.mkdir(parents=True)
    before = await _status(clone)
    await commands.up(clone, _ignore, ("s3",))
    up = await _status(clone)
    os.kill(_pids(clone)["supervisor"], signal.SIGKILL)
    gone = current_state(clone).supervisor
    assert await until(lambda: gone is None or not gone.alive, 10)

    assert (before, up, await _status(clone)) == (6, 0, 6)


async def _status(clone: Layout) -> int:
    nagaya = (sys.executable, "-m", "nagaya_client.cli", "dev", "status", "-o", "json")
    process = await asyncio.create_subprocess_exec(
        *nagaya, cwd=clone.root, stdout=asyncio.subprocess.DEVNULL
    )
    return await process.wait()


async def test_clean_asks_first(clone: Layout) -> None:
    await commands.up(clone, _ignore, _PARTS)

    assert not await commands.clean(clone, _ignore, lambda _: False)
    assert clone.endpoints.exists()
    assert await commands.clean(clone, _ignore, lambda _: True)
    assert not clone.data.exists()


@pytest.mark.parametrize(
    ("answer", "status"), [("ctrl-c", 130), ("nobody", 1), ("n\n", 1)], ids=["ctrl-c", "eof", "no"]
)
async def test_clean_that_is_not_agreed_to_deletes_nothing(
    clone: Layout, answer: str, status: int
) -> None:
    clone.data.mkdir(parents=True)
    nagaya = (sys.executable, "-m", "nagaya_client.cli", "dev", "clean")
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *nagaya, cwd=clone.root, stdin=pipe, stdout=pipe, stderr=pipe
    )
    assert process.stdin is not None
    assert process.stdout is not None
    await process.stdout.readuntil(b"[y/N]: ")
    if answer == "ctrl-c":
        process.send_signal(signal.SIGINT)
    elif answer == "nobody":
        process.stdin.close()
    else:
        process.stdin.write(answer.encode())
    _, stderr = await process.communicate()

    assert process.returncode == status
    assert b"Traceback" not in stderr
    assert clone.data.exists()
