"""A process of the service that a test can kill and start again."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.waiting import wait_until

from nagaya_local.machine.ports import free_port
from servicekit.testing import ISSUER

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests.support.databases import TenantDatabases

    from artifacts.config import StoreConfig
    from servicekit.testing import Keys

ROOT = Path(__file__).parents[3]


@dataclass(slots=True)
class Replica:
    """A server process that can be killed and started again on the same port."""

    settings: dict[str, str]
    process: asyncio.subprocess.Process | None = field(default=None)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.settings['port']}"

    async def start(self) -> None:
        arguments = (
            "-m",
            "tests.integration.artifacts.artifacts_process",
            json.dumps(self.settings),
        )
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, *arguments, cwd=ROOT, stderr=asyncio.subprocess.DEVNULL
        )
        await wait_until(self._listening, unless=self._ended, seconds=60)

    async def kill(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    def _ended(self) -> str:
        running = self.process is not None and self.process.returncode is None
        return "" if running else "the process has ended"

    async def _listening(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", int(self.settings["port"]))
        except OSError:
            return False
        writer.close()
        return True


@asynccontextmanager
async def running_replica(
    tenant_databases: TenantDatabases, store: StoreConfig, keys: Keys
) -> AsyncGenerator[Replica]:
    """Start a replica for the block."""
    replica = Replica(
        {
            "port": str(free_port()),
            "databases": tenant_databases.encode(),
            "store": json.dumps(asdict(store)),
            "jwks_file": str(keys.jwks_file),
            "issuer": ISSUER,
        }
    )
    await replica.start()
    try:
        yield replica
    finally:
        await replica.kill()
