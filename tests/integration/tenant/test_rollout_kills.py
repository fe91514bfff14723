"""A rollout whose process is killed again and again applies each migration once.

`python -m bench.kills rollout` does the same with 200 tenants and 20 kills.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from bench.kills.rollout import roll_out

if TYPE_CHECKING:
    from pathlib import Path


async def test_kills_neither_lose_nor_repeat_a_migration(tmp_path: Path) -> None:
    seed = secrets.randbelow(1_000_000)

    assert await roll_out(tenants=12, kills=4, seed=seed, folder=tmp_path) == 0, f"seed {seed}"
