"""DBOS's processes: a worker with a client, and one that is both, on a PostgreSQL of their own."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg

from bench import measure
from bench.load import Report
from bench.peers.install import python_environment
from nagaya_local.machine.ports import free_port
from nagaya_local.parts.postgres import PostgresServer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

_APP = Path(__file__).parent / "dbos_app.py"


@dataclass(frozen=True, slots=True)
class Process:
    """A process of DBOS's that waits for lines."""

    process: asyncio.subprocess.Process

    async def load(self, clients: int, seconds: float) -> Report:
        """Let it run workflows; return what its clients saw. Raises RuntimeError."""
        if self.process.stdin is None:
            raise RuntimeError("its standard input is a pipe")
        self.process.stdin.write(f"{clients} {seconds}\n".encode())
        return Report(**json.loads(await self.line()))

    async def line(self) -> bytes:
        if self.process.stdout is None or not (line := await self.process.stdout.readline()):
            raise RuntimeError("DBOS has ended: read what it says above")
        return line


@dataclass(frozen=True, slots=True)
class Dbos:
    """DBOS, ready for both ways."""

    client: Process
    inside: Process
    client_pids: Mapping[str, int]
    """Who does the work of the client: not the client itself."""
    inside_pids: Mapping[str, int]


@asynccontextmanager
async def dbos(folder: Path) -> AsyncGenerator[Dbos]:
    """Run DBOS for the block. Raises PeerMissing."""
    python = python_environment("dbos") / "python"
    server = PostgresServer(folder / "dbos-postgres", free_port())
    async with measure.process(server, folder / "dbos-postgres.log") as postgres:
        urls = [await _database(server, name) for name in ("dbos_queue", "dbos_inside")]
        async with (
            _process(python, "worker", urls[0]) as worker,
            _process(python, "client", urls[0]) as client,
            _process(python, "inside", urls[1]) as inside,
        ):
            yield Dbos(
                client,
                inside,
                {"dbos": worker.process.pid, "postgres": postgres},
                {"dbos": inside.process.pid, "postgres": postgres},
            )


async def _database(server: PostgresServer, name: str) -> str:
    connection = await asyncpg.connect(server.url)
    try:
        await connection.execute(f"CREATE DATABASE {name}")
    finally:
        await connection.close()
    return f"{server.url.rpartition('/')[0]}/{name}"


@asynccontextmanager
async def _process(python: Path, kind: str, url: str) -> AsyncGenerator[Process]:
    pipe = asyncio.subprocess.PIPE
    started = await asyncio.create_subprocess_exec(python, _APP, kind, url, stdin=pipe, stdout=pipe)
    try:
        process = Process(started)
        await process.line()
        yield process
    finally:
        if started.returncode is None:
            started.kill()
        await started.wait()
