"""Resident memory of our gateway after 100,000 calls by 32 clients."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from bench import load, part
from bench.cpu import resident_bytes
from bench.gateway import our_calls
from bench.goals import Goals

CALLS = 100_000
BATCH = 2_500
CLIENTS = 32
LIMIT_MIB = 150
SECONDS = 360.0
"""A gateway that makes 280 calls a second is done by then."""


async def main() -> int:
    goals, program, figure = Goals(), load.build(), f"RSS after {CALLS:,} calls"
    with tempfile.TemporaryDirectory(prefix="nagaya-bench-") as name:
        async with our_calls(Path(name)) as (calls, nagaya, _, _):
            pid = calls.stack.pids["llm-gateway"]
            before, end = _mib(pid), time.monotonic() + SECONDS
            while calls.answered < CALLS and time.monotonic() < end:
                requests = calls.requests("grpc")(min(BATCH, CALLS - calls.answered))
                report = await load.send(program, calls.target("grpc"), requests, CLIENTS, SECONDS)
                calls.answered += report.calls
            after = _mib(pid)
            await calls.check(nagaya)
            if calls.stack.pids["llm-gateway"] != pid:
                raise RuntimeError("the gateway was started again meanwhile")
    if calls.answered < CALLS:
        goals.not_measured(
            figure, f"{calls.answered:,} calls in {SECONDS:.0f} s: {after:.0f} MiB by then"
        )
    else:
        shown = f"{LIMIT_MIB} MiB; {before:.0f} MiB before the first call"
        goals.at_most(figure, after / LIMIT_MIB, 1.0, f"{after:.0f} MiB", shown)
    return goals.exit_code


def _mib(pid: int) -> float:
    return resident_bytes(pid) / (1 << 20)


if __name__ == "__main__":
    part.run(main)
