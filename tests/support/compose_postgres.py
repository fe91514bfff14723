"""The PostgreSQL of deploy/compose, run by the programs of our wheel instead of its image."""

from __future__ import annotations

import asyncio
import subprocess
from typing import TYPE_CHECKING

import asyncpg

from nagaya_local.errors import NotReady
from nagaya_local.machine import processes
from nagaya_local.machine.programs import Command, Stopping
from nagaya_local.parts.postgres_account import ServerAccount

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_RULES = "/etc/postgresql/pg_hba.conf"


class ComposePostgres:
    """A cluster with the arguments and the rules of the compose file.

    Whoever makes the roles is let in as `postgres`: the image does that over its socket, as the
    system's user of that name.
    """

    stopping = Stopping(seconds=20.0)

    def __init__(self, folder: Path, port: int, arguments: Sequence[str], rules: Path) -> None:
        self._account = ServerAccount.choose(folder)
        self._port = port
        self._arguments = arguments
        self._rules = rules

    @property
    def psql(self) -> Path:
        """The folder of the program `psql`."""
        return self._account.binaries

    def url(self, user: str, password: str, database: str) -> str:
        """Return the address by which a role logs in."""
        return f"postgresql://{user}:{password}@127.0.0.1:{self._port}/{database}"

    async def prepare(self) -> None:
        """Make the cluster."""
        self._account.prepare()
        initdb = self._account.argv("initdb", "-D", self._data, "-U", "postgres", "--no-sync")
        await asyncio.to_thread(
            subprocess.run,
            initdb,
            check=True,
            capture_output=True,
            cwd=self._account.folder,
            **processes.as_user(self._account.user),
        )
        for_roles = "host postgres,nagaya postgres 127.0.0.1/32 trust\n"
        self._account.write(self._account.folder / "rules", for_roles + self._rules.read_text())

    def command(self) -> Command:
        rules = str(self._account.folder / "rules")
        given = [argument.replace(_RULES, rules) for argument in self._arguments]
        place = ("-D", self._data, "-p", str(self._port), "-c", "unix_socket_directories=")
        argv = self._account.argv(given[0], *place, *given[1:])
        return Command(argv, self._account.folder, user=self._account.user)

    async def probe(self) -> None:
        try:
            await (await asyncpg.connect(self.url("postgres", "", "postgres"), timeout=5)).close()
        except (OSError, TimeoutError, asyncpg.PostgresError) as error:
            raise NotReady(str(error)) from error

    def check(self, healthcheck: Sequence[str]) -> None:
        """Run the compose file's health check. Raises CalledProcessError while it would fail.

        This server has no socket, so it passes by the port alone.
        """
        _, program, *arguments = healthcheck
        asked = (self.psql / program, f"--port={self._port}", *arguments)
        subprocess.run(asked, check=True, capture_output=True)

    def make_roles(self, script: Path, passwords: Mapping[str, str]) -> None:
        """Run the script that the image runs once. Raises CalledProcessError."""
        environment = {
            "PATH": f"{self.psql}:/usr/bin:/bin",
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self._port),
            "POSTGRES_USER": "postgres",
            **passwords,
        }
        subprocess.run([script], env=environment, check=True, capture_output=True)

    @property
    def _data(self) -> str:
        return str(self._account.folder / "data")
