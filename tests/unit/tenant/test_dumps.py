"""pg_dump as a process: it ends with the task that wants it, at whatever moment."""

from __future__ import annotations

import asyncio
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from servicekit.settings import Environment
from tenant.database_tls import DatabaseTls
from tenant.errors.backups import BackupProgramFailed
from tenant.store import dumps
from tenant.store.dumps import DumpPrograms

if TYPE_CHECKING:
    from pathlib import Path

POPEN = subprocess.Popen
ENDLESS = "#!/bin/sh\nexec sleep 600\n"


class Starting:
    """Starts processes as `subprocess` does, and waits before or after that."""

    def __init__(self, *, wait_before: bool) -> None:
        self.begun, self.may_go_on = threading.Event(), threading.Event()
        self.started: list[subprocess.Popen[bytes]] = []
        self._wait_before = wait_before

    def __call__(self, command: list[str], **options: object) -> subprocess.Popen[bytes]:
        if self._wait_before:
            self.begun.set()
            self.may_go_on.wait()
        # Options of any type, by name: handed on as they came.
        process = POPEN(command, **options)  # type: ignore[call-overload]
        self.started.append(process)
        self.begun.set()
        return process


def programs(folder: Path, script: str) -> DumpPrograms:
    path = folder / "pg_dump"
    path.write_text(script)
    path.chmod(0o700)
    return DumpPrograms(folder)


@pytest.mark.parametrize("wait_before", [True, False])
async def test_a_cancelled_one_leaves_no_process_and_no_pipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, wait_before: bool
) -> None:
    starting = Starting(wait_before=wait_before)
    monkeypatch.setattr(subprocess, "Popen", starting)
    running = asyncio.create_task(programs(tmp_path, ENDLESS).version())
    await asyncio.to_thread(starting.begun.wait)
    running.cancel()
    starting.may_go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await running

    (process,) = starting.started
    assert process.returncode == -9
    assert process.stdout is not None
    assert process.stderr is not None
    assert (process.stdout.closed, process.stderr.closed) == (True, True)


async def test_one_that_waits_for_its_turn_is_never_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dumps, "_THREADS", 1)
    starting = Starting(wait_before=False)
    monkeypatch.setattr(subprocess, "Popen", starting)
    known = programs(tmp_path, ENDLESS)
    first = asyncio.create_task(known.version())
    await asyncio.to_thread(starting.begun.wait)
    second = asyncio.create_task(known.version())
    await asyncio.sleep(0)
    for task in (second, first):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert len(starting.started) == 1


async def test_they_verify_the_server_as_connections_of_the_service_do(tmp_path: Path) -> None:
    programs(tmp_path, '#!/bin/sh\necho "pg_dump $PGSSLMODE $PGSSLROOTCERT"\n')
    tls = {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": "/etc/ca.pem"}

    assert await DumpPrograms(tmp_path, tls).version() == "/etc/ca.pem"
    assert DatabaseTls.from_environment(Environment(tls)).variables == tls


async def test_one_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BackupProgramFailed, match="pg_dump cannot be started"):
        await DumpPrograms(tmp_path).version()
