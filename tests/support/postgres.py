"""What keeps PostgreSQL servers of tests small and fast: their data in memory, dropped at once."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
from tests.support.processes import is_alive

if TYPE_CHECKING:
    from collections.abc import Collection, Generator

    from nagaya_local.parts.postgres import PostgresServer

_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder that is made there is ours alone
_PREFIX = "nagaya-tests-"
_NEEDED_BYTES = 10 << 30
"""Several processes choose at about the same time, and a server grows to 2 GB."""


@contextmanager
def folder_in_memory(otherwise: Path) -> Generator[Path]:
    """Make a folder whose files are in memory, and are gone after the block.

    Hundreds of files are copied for each database that is created: on a disk that takes the kernel
    ten times as long. Where there is not enough memory it is the folder `otherwise`.
    """
    if not _is_enough_memory():
        otherwise.mkdir(parents=True)
        yield otherwise
        return
    _remove_those_of_the_dead()
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=_MEMORY))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def list_databases(server: PostgresServer) -> set[str]:
    connection = await asyncpg.connect(server.superuser_url())
    rows = await connection.fetch("SELECT datname FROM pg_database")
    await connection.close()
    return {row["datname"] for row in rows}


async def drop_all_but(server: PostgresServer, kept: Collection[str]) -> None:
    """Drop the databases that a test has left, but those that replicate."""
    connection = await asyncpg.connect(server.superuser_url())
    rows = await connection.fetch("SELECT datname, datistemplate FROM pg_database")
    for name, is_template in rows:
        if name in kept:
            continue
        with suppress(asyncpg.ObjectInUseError, asyncpg.InvalidCatalogNameError):
            if is_template:
                await connection.execute(f'ALTER DATABASE "{name}" IS_TEMPLATE false')
            await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    await connection.close()


def _is_enough_memory() -> bool:
    if not _MEMORY.is_dir() or shutil.disk_usage(_MEMORY).free < _NEEDED_BYTES:
        return False
    found = re.search(r"^MemAvailable: +(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return found is not None and int(found[1]) << 10 >= _NEEDED_BYTES


def _remove_those_of_the_dead() -> None:
    """Remove the folders of processes that were killed."""
    for folder in _MEMORY.glob(f"{_PREFIX}*"):
        pid = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if pid.isdigit() and not is_alive(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)
