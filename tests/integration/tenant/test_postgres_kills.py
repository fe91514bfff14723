"""PostgreSQL is killed after steps of operations: each ends by itself, or once called again.

One step of two kinds, drawn anew each time; with NAGAYA_ALL_KILLS=1 every step of every kind.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import uuid
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias
from unittest.mock import patch

import pytest
from tests.integration.tenant.backup_stack import NOTHING, BackupStack, backup_stack
from tests.support.tenant_data import MemoryPeers
from tests.support.waiting import wait_until

from bundle.stream import tar_bytes
from nagaya.tenant.v1 import backup_service_pb2 as pb
from nagaya_local.errors import LocalError
from nagaya_local.machine import processes
from nagaya_local.machine.ports import free_port
from nagaya_local.machine.running import start
from nagaya_local.parts.postgres import PostgresServer
from servicekit.errors import DomainError
from tenant.app.moves import Moves
from tenant.config import ProvisionerAddress, TransferConfig
from tenant.domain.operations import Operation, OperationKind, OperationState
from tenant.store import operation_runs, operations, servers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Generator
    from pathlib import Path

    from nagaya_local.parts.s3 import S3Server
    from servicekit.testing import Keys
    from tenant.config import Config

    Begin: TypeAlias = "Callable[[Kills, str], Awaitable[str]]"

_SAMPLE = 2


class Killable:
    """A PostgreSQL server that is killed, and started again."""

    def __init__(self, server: PostgresServer, log: Path) -> None:
        self.server = server
        self._log = log
        self._starting: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start it; again and again while processes of the one that was killed are there."""
        async with asyncio.timeout(60):
            while True:
                with suppress(LocalError):
                    self._process = await start(self.server, self._log)
                    return
                await asyncio.sleep(0.1)

    def kill(self) -> None:
        """Kill it now, and have it started again meanwhile."""
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._starting = asyncio.create_task(self.start())

    async def started(self) -> None:
        if self._starting is not None:
            await self._starting

    async def stop(self) -> None:
        await self.started()
        await processes.stop(self._process, self.server.stopping)


class Kills:
    """The stack, its database server, and the tenant `acme` with a backup and a bundle."""

    def __init__(self, stack: BackupStack, server: Killable) -> None:
        self.stack = stack
        self.service = stack.service
        self.server = server
        self.backup_id = ""
        self.deleted_id = ""

    @contextmanager
    def killed_after(self, step: str) -> Generator[asyncio.Event]:
        """Kill the server when a step is done, before that is recorded."""
        record, killed = operation_runs.record_step, asyncio.Event()

        async def record_step(*arguments: object, last: bool) -> Operation | None:
            if arguments[2] == step and not killed.is_set():
                killed.set()
                self.server.kill()
            return await record(*arguments, last=last)  # pyright: ignore[reportArgumentType]

        with patch.object(operation_runs, "record_step", record_step):
            yield killed

    async def ended(self, operation_id: str) -> Operation:
        """Return an operation once it has ended, however often nobody can be asked."""

        async def found() -> Operation | None:
            with suppress(DomainError):
                async with self.service.management.connection() as connection:
                    one = await operations.find(connection, operation_id)
                return one if one is not None and one.ended else None
            return None

        return await wait_until(found, seconds=90)

    async def new_tenant(self) -> str:
        tenant_id = f"acme-{uuid.uuid4().hex[:8]}"
        await self.service.tenants.create(tenant_id, tenant_id, "Acme")
        await self.stack.filled(tenant_id, runs=1)
        return tenant_id


async def _create(kills: Kills, request: str) -> str:
    with suppress(DomainError):
        await kills.service.tenants.create(request, request, "New")
    await kills.server.started()
    async with kills.service.management.connection() as connection:
        found = await operations.newest(connection, request, OperationKind.CREATE_TENANT)
    assert found is not None
    return found.operation_id


async def _back_up(kills: Kills, request: str) -> str:
    asked = pb.CreateBackupRequest(tenant_id="acme", request_id=request)
    return (await kills.stack.backups.CreateBackup(asked)).operation.operation_id


async def _restore(kills: Kills, request: str, new_tenant_id: str = "") -> str:
    asked = pb.RestoreBackupRequest(
        tenant_id="acme",
        backup_id=kills.backup_id,
        request_id=request,
        new_tenant_id=new_tenant_id,
    )
    return (await kills.stack.backups.RestoreBackup(asked)).operation.operation_id


async def _restore_beside(kills: Kills, request: str) -> str:
    return await _restore(kills, request, request)


async def _clone(kills: Kills, request: str) -> str:
    asked = pb.CloneTenantRequest(tenant_id="acme", request_id=request, new_tenant_id=request)
    return (await kills.stack.backups.CloneTenant(asked)).operation.operation_id


async def _verify(kills: Kills, request: str) -> str:
    asked = pb.VerifyBackupRequest(tenant_id="acme", backup_id=kills.backup_id, request_id=request)
    return (await kills.stack.backups.VerifyBackup(asked)).operation.operation_id


async def _move(kills: Kills, request: str) -> str:
    there = (await kills.stack.tenant("acme")).server_id
    to = "second" if there == "main" else "main"
    moves = Moves(kills.service.management, kills.service.operations)
    return (await moves.begin("acme", to, request)).operation_id


async def _purge(kills: Kills, request: str) -> str:
    purge = kills.service.deletion.deletion.purge
    return (await purge(kills.deleted_id, request)).operation_id


async def _export(kills: Kills, request: str) -> str:
    transfers = kills.service.transfers.transfers
    begun = await transfers.export("acme", request, drain=False, drain_seconds=0)
    return begun.operation_id


async def _import(kills: Kills, request: str) -> str:
    exported = await kills.ended(await _export(kills, f"for {request}"))
    assert exported.state is OperationState.DONE, exported.message
    folder = kills.stack.config.transfers.folder
    assert folder is not None
    data = b"".join(tar_bytes(folder / "exports" / "acme" / exported.operation_id))
    bundle_id, transfers = str(uuid.uuid4()), kills.service.transfers.transfers

    async def pieces() -> AsyncIterator[bytes]:
        yield data

    await transfers.upload(bundle_id, len(data), 0, pieces())
    begun = await transfers.import_(request, request, bundle_id, name="", jwks="", server_id="")
    return begun.operation_id


KINDS: dict[str, tuple[OperationKind, Begin]] = {
    "creation": (OperationKind.CREATE_TENANT, _create),
    "backup": (OperationKind.CREATE_BACKUP, _back_up),
    "restoration": (OperationKind.RESTORE_BACKUP, _restore),
    "restoration beside": (OperationKind.RESTORE_BACKUP, _restore_beside),
    "clone": (OperationKind.CLONE_TENANT, _clone),
    "verification": (OperationKind.VERIFY_BACKUP, _verify),
    "move": (OperationKind.MOVE_TENANT, _move),
    "purge": (OperationKind.PURGE_TENANT, _purge),
    "export": (OperationKind.EXPORT_TENANT, _export),
    "import": (OperationKind.IMPORT_TENANT, _import),
}


@pytest.fixture
async def server(parts_folder: Path, servers_folder: Path) -> AsyncIterator[Killable]:
    name = f"killed-{uuid.uuid4().hex[:8]}"
    postgres = PostgresServer(servers_folder / name, free_port(), durable=False)
    killable = Killable(postgres, parts_folder / f"{name}.log")
    await killable.start()
    yield killable
    await killable.stop()


@pytest.fixture
async def kills(
    config: Config,
    keys: Keys,
    server: Killable,
    second_postgres: PostgresServer,
    s3: S3Server,
    parts_folder: Path,
    tmp_path: Path,
) -> AsyncIterator[Kills]:
    url = await server.server.create_management_database(f"nagaya_{uuid.uuid4().hex[:8]}")
    config = replace(
        config,
        database=ProvisionerAddress.parse(url),
        transfers=TransferConfig(tmp_path / "bundles"),
    )
    async with (
        MemoryPeers().serving(keys, config) as known,
        backup_stack(known, keys, server.server, s3, parts_folder, tmp_path) as stack,
    ):
        service, made = stack.service, Kills(stack, server)
        address = ProvisionerAddress.parse(second_postgres.url)
        async with service.management.connection() as connection:
            await servers.set_address(connection, service.keys.ring, "second", address)
            await connection.execute("UPDATE db_servers SET max_tenants = 1 WHERE id = 'second'")
        await service.template.prepare(await service.servers.of("second"))
        await service.tenants.create("acme", "acme", "Acme", {"server": "main"})
        await stack.filled("acme", runs=1)
        made.backup_id = await stack.back_up("acme")
        yield made


def _kinds() -> list[str]:
    """Return all kinds, or names of draws: what is drawn here, each process draws anew."""
    draws = [f"draw-{number}" for number in range(_SAMPLE)]
    return [*KINDS] if os.environ.get("NAGAYA_ALL_KILLS") else draws


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", _kinds())
async def test_what_postgresql_was_killed_in_is_ended_and_nothing_is_left(
    kills: Kills, name: str
) -> None:
    name = name if name in KINDS else random.sample([*KINDS], 1)[0]
    kind, begin = KINDS[name]
    steps = [step.name for step in kills.service.runner._sagas[kind].steps]
    if not os.environ.get("NAGAYA_ALL_KILLS"):
        steps = random.sample(steps, 1)
    for step in steps:
        request = f"new-{uuid.uuid4().hex[:8]}"
        if name == "purge":  # before: a creation has steps of the same names
            kills.deleted_id = await kills.new_tenant()
            await kills.service.deletion.deletion.delete(kills.deleted_id)

        with kills.killed_after(step) as killed:
            operation_id = await begin(kills, request)
            ended = await kills.ended(operation_id)

        assert killed.is_set(), f"it did not come to {step}"
        assert ended.state is OperationState.DONE, f"{step}: {ended.reason} {ended.message}"
        if name == "creation":
            await kills.service.tenants.create(request, request, "New")
        findings, unchecked = await kills.service.deletion.repair.run((), dry_run=True)
        assert (findings, unchecked) == ([], []), step
        assert await kills.stack.leftovers() == NOTHING, step
