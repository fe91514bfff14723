"""Creates a run and dies by SIGKILL between the transaction and the start of the workflow."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING

from tests.support.runs_service import NOWHERE, RunsService, launcher_at

from dataplane.connection_parameters import ConnectionParameters
from dataplane.databases import MANAGEMENT, Databases
from dataplane.tenants import ManagementPool, TenantPools
from runs.api.launcher import Launcher
from servicekit.call import acting_as
from servicekit.identity import Principal

if TYPE_CHECKING:
    from runs.domain.plan import RunStart


class DeadlyLauncher(Launcher):
    async def start(self, start: RunStart, task_queue: str = "") -> None:
        os.kill(os.getpid(), signal.SIGKILL)


async def main(port: str, tenant_database: str, management_database: str, password: str) -> None:
    async def resolve(tenant_id: str) -> ConnectionParameters:
        name = management_database if tenant_id == MANAGEMENT else tenant_database
        return ConnectionParameters(
            "127.0.0.1", int(port), name, f"{name}_runs", password, 1, 20, "local"
        )

    databases = Databases(resolve, "runs", 5)
    launcher = await launcher_at(NOWHERE)
    launcher.__class__ = DeadlyLauncher
    service = RunsService(TenantPools(databases), ManagementPool(databases), launcher)
    with acting_as(Principal("ada", None, frozenset({"*"}), frozenset({"*"}))):
        await service.run("r1")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
