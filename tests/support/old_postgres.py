"""PostgreSQL 16, which the wheel of PostgreSQL 18 holds too: a server that is too old."""

from __future__ import annotations

import asyncio
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import asyncpg

from nagaya_local.errors import NotReady
from nagaya_local.machine import processes
from nagaya_local.machine.programs import Command, Stopping
from nagaya_local.parts.postgres_account import ServerAccount
from nagaya_local.parts.wheels import packaged_binaries

if TYPE_CHECKING:
    from pathlib import Path


class OldPostgres:
    """A cluster of PostgreSQL 16 in `folder`, which trusts everybody."""

    stopping = Stopping()

    def __init__(self, folder: Path, port: int) -> None:
        binaries = packaged_binaries().parents[1] / "pginstall" / "bin"
        self._account = replace(ServerAccount.choose(folder), binaries=binaries)
        self._port = port

    @property
    def url(self) -> str:
        return f"postgresql://postgres:x@127.0.0.1:{self._port}/template1"

    async def prepare(self) -> None:
        self._account.folder.mkdir(parents=True, exist_ok=True)
        arguments = ("-D", self._data, "-U", "postgres", "--auth=trust", "--no-sync")
        await asyncio.to_thread(
            subprocess.run,
            self._account.argv("initdb", *arguments),
            check=True,
            capture_output=True,
            **processes.as_user(self._account.user),
        )

    def command(self) -> Command:
        arguments = ("-D", self._data, "-p", str(self._port), "-c", "unix_socket_directories=")
        argv = self._account.argv("postgres", *arguments)
        return Command(argv, self._account.folder, user=self._account.user)

    async def probe(self) -> None:
        try:
            await (await asyncpg.connect(self.url, timeout=5)).close()
        except (OSError, TimeoutError, asyncpg.PostgresError) as error:
            raise NotReady(str(error)) from error

    @property
    def _data(self) -> str:
        return str(self._account.folder / "data")
