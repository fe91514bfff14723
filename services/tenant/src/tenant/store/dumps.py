"""pg_dump and pg_restore, PostgreSQL's own programs, run for one database."""

from __future__ import annotations

import asyncio
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tenant.errors.backups import BackupProgramCutOff, BackupProgramFailed

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

_LOCK_WAIT = "30s"
_THREADS = 16  # so many programs run at once
_LOCALE = {"LC_ALL": "C", "PATH": "/usr/bin:/bin"}
_CONNECTION_LOST = re.compile(
    r"connection to server|server closed the connection|terminating connection"
)
_FAILED_TABLE = re.compile(r'(?:table|relation) "(\w+)"')
# `3512; 0 16402 TABLE DATA public runs owner` and `3540; 0 0 SEQUENCE SET public a_id_seq owner`
_ENTRY = re.compile(r"\d+; \d+ \d+ (TABLE DATA|SEQUENCE SET) public (\S+) .+")
# The tenant service's own schema for what nobody but a superuser may change; and what replication
# needs, which belongs to a server.
_LEFT_OUT = ("--exclude-schema=nagaya_seal", "--no-publications", "--no-subscriptions")


@dataclass(frozen=True, slots=True)
class DumpLogin:
    """How the programs log in to a database."""

    host: str
    port: int
    database: str
    user: str
    password: str = field(repr=False)


class DumpPrograms:
    """The programs in `folder`, or those found on PATH.

    They write to a custom-format file, without owners and privileges, so that it can be read with
    any role names. Methods raise BackupProgramFailed: what a program says may quote rows, so only
    its name, its exit status and a table's name are told. `tls` are libpq's variables for TLS.
    """

    def __init__(self, folder: Path | None, tls: Mapping[str, str] | None = None) -> None:
        self._folder = folder
        self._environment = _LOCALE | dict(tls or {})
        self._threads = ThreadPoolExecutor(_THREADS, "pg_dump")

    async def dump(self, login: DumpLogin, snapshot_id: str, target: Path) -> None:
        """Write what an exported snapshot sees into `target`."""
        await self._run(
            "pg_dump",
            "--format=custom",
            "--no-owner",
            "--no-privileges",
            f"--lock-wait-timeout={_LOCK_WAIT}",
            f"--snapshot={snapshot_id}",
            f"--file={target}",
            *_LEFT_OUT,
            login=login,
        )

    async def load(
        self,
        login: DumpLogin,
        source: Path,
        tables: Sequence[str],
        left_out: Collection[str],
    ) -> None:
        """Load the rows of these tables in this order, then all sequences, in one transaction.

        Nothing else of the file is executed. Tables in `left_out` are not loaded. Raises
        BackupProgramFailed also when the file has a table that is in neither.
        """
        lines = (await self._run("pg_restore", "--list", str(source))).splitlines()
        chosen = source.with_name(source.name + ".list")
        chosen.write_text("\n".join(_entries(lines, tables, left_out)) + "\n")
        await self._run(
            "pg_restore",
            "--data-only",
            "--single-transaction",
            "--exit-on-error",
            "--no-owner",
            "--no-privileges",
            f"--use-list={chosen}",
            f"--dbname={login.database}",
            str(source),
            login=login,
        )

    async def version(self) -> str:
        """Return the version of pg_dump, such as `18.4`."""
        return (await self._run("pg_dump", "--version")).split()[2]

    async def _run(self, program: str, *arguments: str, login: DumpLogin | None = None) -> str:
        """Run a program to its end, or kill it when the task is cancelled; return its output."""
        path = str(self._folder / program) if self._folder is not None else program
        login_variables = {} if login is None else _variables(login)
        process = _Process([path, *arguments], self._environment | login_variables)
        run = self._threads.submit(process.run)
        ended = asyncio.wrap_future(run)
        try:
            status, output, complaints = await asyncio.shield(ended)
        except OSError as error:
            raise BackupProgramFailed(program, f"cannot be started ({error.strerror})") from None
        except asyncio.CancelledError:
            if not run.cancel():  # it has begun
                process.kill()
                await asyncio.gather(ended, return_exceptions=True)
            raise
        if status != 0:
            raise _failure(program, status, complaints.decode(errors="replace"))
        return output.decode()


class _Process:
    """A program that a thread runs, and another kills, also while it is being started.

    It is started by vfork: uvloop starts programs by fork, and then gRPC's handlers of forks crash
    some of the children.
    """

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._command = command
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._killed = False

    def run(self) -> tuple[int, bytes, bytes]:
        """Run it to its end; return its exit status, output and complaints. Raises OSError."""
        with subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self._environment,
        ) as process:
            self._process = process
            if self._killed:  # in between: `kill` has found no process
                process.kill()
            output, complaints = process.communicate()
            return process.returncode, output, complaints

    def kill(self) -> None:
        """Kill it now, or as soon as it is started."""
        self._killed = True
        if self._process is not None:
            self._process.kill()


def _variables(login: DumpLogin) -> dict[str, str]:
    """Return what libpq reads; in the environment, which other users of a machine cannot see."""
    return {
        "PGHOST": login.host,
        "PGPORT": str(login.port),
        "PGDATABASE": login.database,
        "PGUSER": login.user,
        "PGPASSWORD": login.password,
        "PGAPPNAME": "tenant backup",
        "PGCONNECT_TIMEOUT": "10",
        "PGOPTIONS": "-c statement_timeout=0 -c idle_in_transaction_session_timeout=0",
    }


def _entries(lines: Sequence[str], tables: Sequence[str], left_out: Collection[str]) -> list[str]:
    """Return the lines of a table of contents to load, in order."""
    data: dict[str, str] = {}
    sequences: list[str] = []
    for line in lines:
        entry = _ENTRY.fullmatch(line)
        if entry is not None and entry[1] == "TABLE DATA":
            data[entry[2]] = line
        elif entry is not None:
            sequences.append(line)
    unknown = data.keys() - {*tables, *left_out}
    if unknown:
        raise BackupProgramFailed("pg_restore", f"found an unknown table {min(unknown)}")
    return [data[name] for name in tables if name in data and name not in left_out] + sequences


def _failure(
    program: str, status: int, complaints: str
) -> BackupProgramFailed | BackupProgramCutOff:
    """Return what may be told of a failure."""
    first = next((line for line in complaints.splitlines() if "error:" in line), "")
    if _CONNECTION_LOST.search(first):
        return BackupProgramCutOff(program)
    table = _FAILED_TABLE.search(first)
    where = f" at the table {table[1]}" if table else ""
    return BackupProgramFailed(program, f"ended with status {status}{where}")
