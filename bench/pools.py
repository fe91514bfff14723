"""Cost of lending a connection, beside asyncpg's own pool, on the same database.

    NAGAYA_PG_URL=postgresql://… python -m bench.pools [--rounds 5]

Each block runs the smallest query there is, so that what is left is the lending.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import asyncpg

from dataplane.databases import Databases
from dataplane.pools import ConnectionParameters
from dataplane.tenants import ManagementPool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

BLOCKS = 2000


async def main() -> None:
    parser = argparse.ArgumentParser(description="What lending a connection costs.")
    parser.add_argument("--rounds", type=int, default=5)
    rounds: int = parser.parse_args().rounds
    url = os.environ["NAGAYA_PG_URL"]  # noqa: TID251 - a bench is its own configuration
    async with _subjects(url) as subjects:
        costs: dict[str, list[float]] = {name: [] for name in subjects}
        for _ in range(rounds):
            for name, block in subjects.items():
                begun = time.perf_counter()
                for _ in range(BLOCKS):
                    await block()
                costs[name].append((time.perf_counter() - begun) / BLOCKS * 1e6)
    for name, found in costs.items():
        print(f"{name}: {statistics.median(found):.0f} us ({min(found):.0f} to {max(found):.0f})")


@asynccontextmanager
async def _subjects(url: str) -> AsyncGenerator[dict[str, Callable[[], Awaitable[None]]]]:
    parts = urlsplit(url)
    target = ConnectionParameters(
        host=parts.hostname or "",
        port=parts.port or 5432,
        database=parts.path.lstrip("/"),
        user=parts.username or "",
        password=parts.password or "",
        generation=1,
        connection_limit=4,
        server_id="one",
    )

    async def resolve(_: str) -> ConnectionParameters:
        return target

    databases = Databases(resolve, "bench", budget=4)
    ours = ManagementPool(databases)
    held = await asyncpg.connect(url)
    async with asyncpg.create_pool(url, min_size=0, max_size=4) as theirs:

        async def nothing_lent() -> None:
            await held.fetchval("SELECT 1")

        async def lent_by_us() -> None:
            async with ours.connection() as connection:
                await connection.fetchval("SELECT 1")

        async def lent_by_asyncpg() -> None:
            async with theirs.acquire() as connection:
                await connection.fetchval("SELECT 1")

        yield {
            "a connection held": nothing_lent,
            "lent by servicekit": lent_by_us,
            "lent by asyncpg's pool": lent_by_asyncpg,
        }
    await held.close()
    databases.close()
    await databases.settled()


if __name__ == "__main__":
    asyncio.run(main())
