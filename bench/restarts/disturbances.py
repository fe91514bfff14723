"""What is done to the processes, one after the other, while others call them."""

from __future__ import annotations

import random
from itertools import cycle, islice
from typing import TYPE_CHECKING

from nagaya_local.names import SERVICES, WORKER

if TYPE_CHECKING:
    from bench.restarts.installation import Installation
    from bench.restarts.load import Load

UPGRADE = ("tenant", "artifacts", WORKER, "runs", "llm-gateway")
"""The order of docs/upgrading.md."""
_PARTS = (*SERVICES, WORKER)


async def restart(made: Installation, load: Load, rolls: int, kills: int, seed: int) -> None:
    """Restart both processes of one service after another in order, and kill single processes.

    Services take turns; when which process is killed follows from the seed.
    """
    chance = random.Random(seed)  # noqa: S311 - to be repeatable
    planned = [("roll", part) for part in islice(cycle(_PARTS), rolls)]
    for part in islice(cycle(_PARTS), kills):
        planned.insert(chance.randrange(len(planned) + 1), ("kill", part))
    for deed, part in planned:
        if load.failed:
            return
        if deed == "roll":
            load.happened = f"rolling restart of {part}"
            await made.roll(part)
        else:
            replica = chance.choice(made.replicas[part])
            load.happened = f"kill -9 of {replica.name}"
            await made.kill(replica)


async def exchange(made: Installation, load: Load, pythons: tuple[str, str]) -> None:
    """Upgrade from the first build to the second and back, then both in the opposite order."""
    former, ours = pythons
    passes = (
        ("upgrade", ours, UPGRADE),
        ("rollback", former, UPGRADE[::-1]),
        ("upgrade in the opposite order", ours, UPGRADE[::-1]),
        ("rollback in the opposite order", former, UPGRADE),
    )
    for name, python, parts in passes:
        for part in parts:
            if load.failed:
                return
            load.happened = f"{name}: {part}"
            await made.exchange(part, python)
