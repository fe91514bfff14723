"""A rollout of an additive file, beside a bare loop that applies the same statement.

The bare loop connects to each database as superuser, eight at once, applies the file and inserts a
row about it in one transaction: no lock, no roles, no record of how far it is.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench import part
from bench.goals import Goals
from bench.rollout_service import RolloutService
from nagaya_local.machine.ports import free_port
from nagaya_local.machine.running import running
from nagaya_local.parts.postgres import PostgresServer
from servicekit.testing import Keys

if TYPE_CHECKING:
    from collections.abc import Sequence

TENANTS = 200
GOAL = 60.0
_AT_ONCE = 8
_TABLES = "CREATE TABLE notes (id BIGSERIAL PRIMARY KEY, text TEXT)"
_ADDITIVE = "ALTER TABLE notes ADD COLUMN topic TEXT; CREATE TABLE topics (name TEXT PRIMARY KEY)"
_BARE = """
    BEGIN;
    ALTER TABLE notes ADD COLUMN bare TEXT;
    CREATE TABLE bare (name TEXT PRIMARY KEY);
    INSERT INTO bare VALUES ('applied');
    COMMIT
"""


async def main() -> int:
    with tempfile.TemporaryDirectory(prefix="nagaya-bench-") as name:
        folder = Path(name)
        server, keys = PostgresServer(folder / "postgres", free_port()), Keys(folder)
        async with running(server, folder / "postgres.log"):
            service = RolloutService(folder, keys, server)
            await service.start()
            try:
                return await _compare(service)
            finally:
                await service.kill()


async def _compare(service: RolloutService) -> int:
    names = [f"bench-{number:04}" for number in range(TENANTS)]
    await service.publish([_TABLES])
    await service.create_tenants(names)
    await service.publish([_TABLES, _ADDITIVE])
    bare = await _bare(service, names)
    began = time.perf_counter()
    rollout_id = await service.begin("bench")
    await service.ended(rollout_id)
    ours = TENANTS / (time.perf_counter() - began)
    goals = Goals()
    figure, baseline = f"{ours:.0f} tenants/s", f"{bare:.0f} tenants/s, a bare loop"
    goals.at_least("rollout of an additive file, of 60 tenants/s", ours / GOAL, 1, figure)
    goals.shown("rollout of an additive file, beside a bare loop", figure, baseline, ours / bare)
    return goals.exit_code


async def _bare(service: RolloutService, names: Sequence[str]) -> float:
    waiting = iter(names)

    async def each() -> None:
        for name in waiting:
            await service.run(name, _BARE)

    began = time.perf_counter()
    await asyncio.gather(*(each() for _ in range(_AT_ONCE)))
    return len(names) / (time.perf_counter() - began)


if __name__ == "__main__":
    part.run(main)
