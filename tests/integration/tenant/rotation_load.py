"""A service that uses databases all the time, through the data plane, and counts what fails."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from tests.support.waiting import wait_until

from dataplane.tenants import connect_data_plane
from servicekit.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from dataplane.tenants import DataPlane
    from interceptor.testing import RunningServer


class Load:
    """Callers that hold connections for different times; some make the pool open new ones."""

    def __init__(self, data: DataPlane, tenant_id: str) -> None:
        self.calls = 0
        self.failures: list[BaseException] = []
        self._data = data
        self._tenant_id = tenant_id

    async def run(self, callers: int) -> None:
        """Call until it is cancelled."""
        await asyncio.gather(*map(self._call_often, range(callers)))

    async def more(self, calls: int) -> None:
        """Return after so many more calls."""
        until = self.calls + calls

        async def reached() -> bool:
            return self.calls >= until

        await wait_until(reached)

    async def _call_often(self, number: int) -> None:
        while True:
            try:
                await self._call(number)
            except Exception as error:  # whatever it is, it is a failed call
                self.failures.append(error)
            self.calls += 1
            await asyncio.sleep(0)

    async def _call(self, number: int) -> None:
        if number % 4 == 3:
            async with self._data.management.connection() as connection:
                await connection.execute("SELECT 1")
            return
        async with self._data.tenants.transaction(self._tenant_id) as connection:
            await connection.execute("INSERT INTO runs (note) VALUES ('load')")
            await connection.execute("SELECT pg_sleep($1::float8 / 1000)", number % 7)
        if self.calls % 5 == 0:
            with suppress(DatabaseUnavailable):  # as a network does: the next call opens another
                async with self._data.tenants.connection(self._tenant_id) as connection:
                    connection.terminate()


@asynccontextmanager
async def loaded(server: RunningServer, tenant_id: str, callers: int = 12) -> AsyncGenerator[Load]:
    """Have `runs` call all the time, until the end of the block."""
    async with connect_data_plane(server.workload_channel("runs"), "runs") as data:
        await data.ready()
        load = Load(data, tenant_id)
        running = asyncio.create_task(load.run(callers))
        try:
            await load.more(50)
            yield load
            await load.more(50)
        finally:
            running.cancel()
            await asyncio.wait((running,))
