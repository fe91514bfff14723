"""Two processes of each service behind a load balancer, restarted and killed under load.

The short form of `python -m bench.restarts`, which does the same behind every load balancer, ten
times as often.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from bench.restarts.installation import installed
from bench.restarts.judged import judge

if TYPE_CHECKING:
    from pathlib import Path

    from bench.restarts.load import Load

# It asks for no health: GOAWAY, and the client's own repetitions, have to make up for that.
BALANCER = "nginx"
CALLS = 1000
ROLLED = ("runs",)
KILLED = ("tenant", "artifacts")


@pytest.mark.timeout(300)
async def test_no_call_fails_and_no_watch_has_a_gap_while_processes_are_restarted_and_killed(
    tmp_path: Path,
) -> None:
    async with installed(tmp_path, BALANCER) as made:

        async def disturb(load: Load) -> None:
            for part in ROLLED:
                load.happened = f"rolling restart of {part}"
                await made.roll(part)
            for part in KILLED:
                load.happened = f"kill -9 of {part}"
                await made.kill(made.replicas[part][0])

        broken = await judge(made, tmp_path, BALANCER, disturb, calls=CALLS, rate=100)

    assert broken == 0
