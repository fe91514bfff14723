"""What is done to the processes, one after the other, while others call them."""

from __future__ import annotations

import random
from itertools import cycle, islice
from typing import TYPE_CHECKING

from nagaya_local.names import SERVICES, WORKER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.restarts.installation import Installation
    from bench.restarts.load import Load

_PARTS = (*SERVICES, WORKER)
ORDERS = {
    "documented": ("tenant", "artifacts", WORKER, "runs", "llm-gateway"),
    "worker-last": ("tenant", "artifacts", "llm-gateway", "runs", WORKER),
    "worker-first": (WORKER, "runs", "llm-gateway", "artifacts", "tenant"),
}
"""In which services are upgraded; they are rolled back in the opposite order.

The first one is that of docs/operations/upgrade.md.
"""


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


async def exchange(
    made: Installation, load: Load, pythons: tuple[str, str], orders: Sequence[str]
) -> None:
    """Upgrade from the first build to the second and back, in each of these orders."""
    former, ours = pythons
    for order in orders:
        parts = ORDERS[order]
        for deed, python, way in (("upgrade", ours, parts), ("rollback", former, parts[::-1])):
            for part in way:
                if load.failed:
                    return
                load.happened = f"{deed} of {part}, {order}"
                await made.exchange(part, python)
