"""The embedded PostgreSQL: its two barriers between databases, and what it survives."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
from typing import TYPE_CHECKING

import asyncpg
import pytest

from nagaya_local.errors import PreflightFailed
from nagaya_local.machine.ports import free_port
from nagaya_local.machine.running import running, start
from nagaya_local.parts import postgres_account
from nagaya_local.parts.postgres import PostgresServer
from nagaya_local.parts.postgres_account import ServerAccount

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

_PASSWORD = "a-password"
_REFUSED = (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InsufficientPrivilegeError)


@pytest.fixture
async def provisioner(postgres: PostgresServer) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(postgres.url)
    yield connection
    await connection.close()


async def _tenant(provisioner: asyncpg.Connection) -> str:
    """Make a database with its group role and one login role, as tenant does; returns its name."""
    name = f"t_{secrets.token_hex(4)}"
    await provisioner.execute(f"CREATE DATABASE {name}")
    await provisioner.execute(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC")
    await provisioner.execute(f"CREATE ROLE {name} NOLOGIN")
    await provisioner.execute(f"GRANT CONNECT ON DATABASE {name} TO {name}")
    await provisioner.execute(
        f"CREATE ROLE {name}_runs LOGIN PASSWORD '{_PASSWORD}' IN ROLE {name}"
    )
    return name


async def _enter(postgres: PostgresServer, role: str, database: str) -> str:
    connection = await asyncpg.connect(
        host="127.0.0.1",
        port=postgres.port,
        user=role,
        password=_PASSWORD,
        database=database,
        ssl=False,
    )
    try:
        return await connection.fetchval("SELECT current_database()")
    finally:
        await connection.close()


async def test_a_role_enters_its_own_database_and_no_other(
    postgres: PostgresServer, provisioner: asyncpg.Connection
) -> None:
    ours, theirs = await _tenant(provisioner), await _tenant(provisioner)

    assert await _enter(postgres, f"{ours}_runs", ours) == ours
    for database in (theirs, "nagaya", "postgres", "template1"):
        with pytest.raises(_REFUSED):
            await _enter(postgres, f"{ours}_runs", database)


async def test_pg_hba_refuses_when_connect_is_open_to_all(
    postgres: PostgresServer, provisioner: asyncpg.Connection
) -> None:
    ours, theirs = await _tenant(provisioner), await _tenant(provisioner)
    await provisioner.execute(f"GRANT CONNECT ON DATABASE {theirs} TO PUBLIC")

    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError, match="pg_hba"):
        await _enter(postgres, f"{ours}_runs", theirs)


async def test_connect_is_refused_when_the_group_role_may_not(
    postgres: PostgresServer, provisioner: asyncpg.Connection
) -> None:
    ours = await _tenant(provisioner)
    await provisioner.execute(f"REVOKE CONNECT ON DATABASE {ours} FROM {ours}")

    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await _enter(postgres, f"{ours}_runs", ours)


async def test_a_failing_row_is_not_written_to_the_log(
    postgres: PostgresServer, provisioner: asyncpg.Connection, parts_folder: Path
) -> None:
    await provisioner.execute("CREATE TEMPORARY TABLE narrow (body TEXT CHECK (body = 'no'))")
    with pytest.raises(asyncpg.CheckViolationError):
        await provisioner.execute("INSERT INTO narrow VALUES ('a-canary-in-a-row')")

    assert "a-canary" not in (parts_folder / "postgres.log").read_text()


async def test_committed_rows_survive_kill_9_and_a_new_port(tmp_path: Path) -> None:
    first = PostgresServer(tmp_path / "pg data", free_port(), durable=False)
    process = await start(first, tmp_path / "postgres.log")
    connection = await asyncpg.connect(first.url)
    await connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    await connection.close()

    second = PostgresServer(tmp_path / "pg data", free_port(), durable=False)
    async with running(second, tmp_path / "postgres.log"):
        again = await asyncpg.connect(second.url)
        assert await again.fetchval("SELECT number FROM kept") == 7
        await again.close()


async def test_no_password_stands_in_the_command_line(postgres: PostgresServer) -> None:
    argv = " ".join(postgres.command().argv)

    assert postgres.url.split(":")[2].split("@")[0] not in argv


async def test_a_cluster_left_half_made_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "pg" / "data.making" / "base").mkdir(parents=True)

    async with running(
        PostgresServer(tmp_path / "pg", free_port(), durable=False), tmp_path / "postgres.log"
    ) as server:
        assert server.data.exists()


async def test_a_pid_file_that_names_somebody_elses_process_is_no_hindrance(
    tmp_path: Path,
) -> None:
    server = PostgresServer(tmp_path / "pg", free_port(), durable=False)
    await server.prepare()
    (server.data / "postmaster.pid").write_text(f"{os.getpid()}\n{server.data}\n1\n1\n\n\n\n")

    async with running(server, tmp_path / "postgres.log"):
        pass


async def test_without_namespaces_the_server_still_runs_as_a_user_that_exists_and_is_not_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_account, "can_unshare", lambda *_: False)
    users = [account.pw_name for account in pwd.getpwall()]
    server = PostgresServer(tmp_path / "pg", free_port(), durable=False)
    try:
        async with running(server, tmp_path / "postgres.log"):
            assert server.data.stat().st_uid != 0
            assert server.data.stat().st_mode & 0o777 == 0o700
        assert [account.pw_name for account in pwd.getpwall()] == users
    finally:
        shutil.rmtree(server.data.parent)


def test_a_user_without_an_entry_in_the_accounts_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = next(number for number in range(54_321, 64_321) if not _is_known(number))
    monkeypatch.setattr(os, "geteuid", lambda: nobody)

    with pytest.raises(PreflightFailed, match=f"user {nobody} has no entry"):
        ServerAccount.choose(tmp_path)


def _is_known(number: int) -> bool:
    return number in {account.pw_uid for account in pwd.getpwall()}


def test_a_private_folder_that_somebody_else_prepared_is_not_trusted(tmp_path: Path) -> None:
    folder = tmp_path / "nagaya-private"
    folder.symlink_to(tmp_path)
    account = ServerAccount(folder, folder / "bin", user=pwd.getpwuid(os.geteuid()).pw_name)

    with pytest.raises(PreflightFailed, match="not a private folder"):
        account.prepare()


async def test_the_provisioner_may_move_tenants_and_prove_deletions_on_any_management_database(
    postgres: PostgresServer,
) -> None:
    later = await postgres.create_management_database(f"nagaya_{secrets.token_hex(4)}")
    for url in (postgres.url, later):
        connection = await asyncpg.connect(url)
        await connection.execute("CHECKPOINT")
        await connection.fetchval("SELECT pg_switch_wal()")
        assert await connection.fetchval("SELECT count(*) FROM pg_ls_waldir()") > 0
        found = await connection.fetchrow(
            """
            SELECT rolreplication, rolsuper, current_setting('wal_level') AS wal_level,
                   pg_has_role('pg_create_subscription', 'USAGE') AS subscribes
              FROM pg_roles WHERE rolname = current_user
            """
        )
        await connection.close()
        assert found is not None
        assert tuple(found) == (True, False, "logical", True)
