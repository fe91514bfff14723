"""Kills the process that migrates tenants, and judges from their databases what it has done.

The migration counts, so that one that is applied twice shows. Some tenants have a row that it
cannot be applied to; one of them is in the canary.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from bench.rollout_service import RolloutService
from nagaya.tenant.v1 import rollout_pb2
from nagaya_local.machine.ports import free_port
from nagaya_local.machine.running import running
from nagaya_local.parts.postgres import PostgresServer
from servicekit.testing import Keys

if TYPE_CHECKING:
    from pathlib import Path

TENANTS = 200
KILLS = 20
POISONED = 3
CANARY = 5
_CONCURRENCY = 2  # so that it takes long enough to be killed often
_TABLES = (
    "CREATE TABLE counter (n INT); INSERT INTO counter VALUES (0); CREATE TABLE notes (text TEXT)"
)
_COUNT = """
    UPDATE counter SET n = n + 1;
    SELECT pg_sleep(0.1);
    ALTER TABLE notes ALTER COLUMN text SET NOT NULL
"""


def run(tenants: int, kills: int, seed: int, folder: Path) -> int:
    """Return how many promises were broken."""
    return asyncio.run(roll_out(tenants, kills, seed, folder))


async def roll_out(tenants: int, kills: int, seed: int, folder: Path) -> int:
    """Do the same in a loop that runs already."""
    chance = random.Random(seed)  # noqa: S311 - instants to kill at
    names = [f"tenant-{number:04}" for number in range(tenants)]
    poisoned = chance.sample(names, min(POISONED, tenants))
    others = [name for name in names if name not in poisoned]
    canary = [poisoned[0], *chance.sample(others, min(CANARY - 1, len(others)))]
    server, keys = PostgresServer(folder / "postgres", free_port()), Keys(folder)
    async with running(server, folder / "postgres.log"):
        service = RolloutService(folder, keys, server)
        await service.start()
        try:
            await service.publish([_TABLES])
            await service.create_tenants(names)
            for name in poisoned:
                await service.execute(name, "INSERT INTO notes VALUES (NULL)")
            await service.publish([_TABLES, _COUNT])
            return await _judged(service, names, poisoned, canary, kills, chance)
        finally:
            await service.kill()


async def _judged(
    service: RolloutService,
    names: list[str],
    poisoned: list[str],
    canary: list[str],
    kills: int,
    chance: random.Random,
) -> int:
    rollout_id = await service.begin("counted", canary, _CONCURRENCY)
    paused, first = await _killed(service, rollout_id, kills // 4, chance)
    counted = {name for name in names if await _counter(service, name)}
    broken = [
        *(["it did not pause"] if paused.state != rollout_pb2.ROLLOUT_STATE_PAUSED else []),
        *(f"{name} is not in the canary" for name in sorted(counted - set(canary))),
    ]
    for name in poisoned:
        await service.execute(name, "DELETE FROM notes")
    await service.resume(rollout_id)
    done, second = await _killed(service, rollout_id, kills - first, chance)
    if done.state != rollout_pb2.ROLLOUT_STATE_DONE:
        broken.append(f"it is not done: {done.pause_reason}")
    counts = {name: await _counter(service, name) for name in names}
    broken += [f"{name} was counted {n} times" for name, n in counts.items() if n != 1]
    print(f"{len(names)} tenants, {len(poisoned)} poisoned, {first + second} kills", flush=True)
    print(*(f"  broken: {promise}" for promise in broken), sep="\n", flush=True)
    return len(broken)


async def _killed(
    service: RolloutService, rollout_id: str, kills: int, chance: random.Random
) -> tuple[rollout_pb2.Rollout, int]:
    """Kill the process again and again; return the rollout once it has ended, and how often."""
    ending = asyncio.create_task(service.ended(rollout_id))
    done = 0
    while done < kills and not ending.done():
        await asyncio.wait((ending,), timeout=chance.uniform(0.0, 0.5))
        if not ending.done():
            await service.kill()
            await service.start()
            done += 1
    return await ending, done


async def _counter(service: RolloutService, name: str) -> object:
    return await service.execute(name, "SELECT n FROM counter")
