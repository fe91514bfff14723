"""What is done to the processes, and when: all of it from one seed."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import TYPE_CHECKING, TypeAlias

import asyncpg

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    Harm: TypeAlias = Callable[[random.Random], Awaitable[None]]

_POLL_SECONDS = 0.01


class Chaos:
    """Does harm at random instants, told by how far the work has come."""

    def __init__(self, seed: int, harms: Mapping[str, tuple[int, Harm]]) -> None:
        """`harms` by name: how often, and what is called with the run's own `random.Random`."""
        self._chance = random.Random(f"{seed} chaos")  # noqa: S311 - to be repeatable
        planned = [
            (self._chance.uniform(0.01, 0.98), name)
            for name, (times, _) in harms.items()
            for _ in range(times)
        ]
        self._planned = sorted(planned)
        self._harms = harms
        self.done: Counter[str] = Counter()

    async def run(self, progress: Callable[[], float]) -> None:
        """Do everything, as `progress` goes from 0 to 1; return when the last is over.

        Raises what the first harm that fails raises, at once.
        """
        async with asyncio.TaskGroup() as tasks:
            for moment, name in self._planned:
                while progress() < moment:  # noqa: ASYNC110 - it counts what others do
                    await asyncio.sleep(_POLL_SECONDS)
                await asyncio.sleep(self._chance.uniform(0, 0.1))
                tasks.create_task(self._do(name))

    async def _do(self, name: str) -> None:
        _, harm = self._harms[name]
        await harm(self._chance)
        self.done[name] += 1


async def terminate_backends(url: str, role: str, chance: random.Random) -> None:
    """Terminate about half of the connections of roles whose names are like `role`."""
    try:
        connection = await asyncpg.connect(url, timeout=5)
    except (OSError, TimeoutError, asyncpg.PostgresError):
        return  # the server is being killed
    try:
        pids = await connection.fetch(
            "SELECT pid FROM pg_stat_activity WHERE usename LIKE $1 AND pid <> pg_backend_pid()",
            role,
        )
        chosen = [row["pid"] for row in pids if chance.random() < 0.5]
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM unnest($1::int[]) pid", chosen
        )
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return
    finally:
        connection.terminate()
