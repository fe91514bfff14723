"""Breaks a stack six times, and judges whether the alerts about it fire and clear.

A stack of this build runs in a temporary folder, a real Prometheus beside it with the rules of
deploy/monitoring. Their times are made shorter: `--hold` is how long a condition is to hold, and
`--window` over how long rates are taken. Exits with 1 when an alert has not fired, or not cleared.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.stack import running_stack

from bench.incidents import traffic
from bench.incidents.breakages import INCIDENTS, Incident, Target
from bench.incidents.server import Prometheus, build
from nagaya_local.machine.ports import PortBook

if TYPE_CHECKING:
    from tests.support.stack import LocalStack

JOBS = ("tenant", "runs", "runs-worker", "artifacts", "llm-gateway")
_LONGEST_SECONDS = 300.0
_REPAIR_SECONDS = "5"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.incidents")
    parser.add_argument("names", nargs="*", metavar="INCIDENT", help="the beginning of its name")
    parser.add_argument("--hold", type=int, default=3, help="seconds in place of each `for`")
    parser.add_argument("--window", type=int, default=15, help="seconds in place of each range")
    asked = parser.parse_args()
    chosen = [
        one for one in INCIDENTS if not asked.names or one.name.startswith(tuple(asked.names))
    ]
    folder = Path(tempfile.mkdtemp(prefix="nagaya-incidents-"))
    (folder / "stack").mkdir()
    try:
        with running_stack(folder / "stack", NAGAYA_REPAIR_SECONDS=_REPAIR_SECONDS) as stack:
            return asyncio.run(_run(stack, folder, chosen, asked))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _run(
    stack: LocalStack, folder: Path, chosen: list[Incident], asked: argparse.Namespace
) -> int:
    programs = build()
    ports = PortBook(stack.layout.ports).known
    targets = {f"nagaya-{job}": f"127.0.0.1:{ports[f'{job}-metrics']}" for job in JOBS}
    prometheus = Prometheus(folder, targets, asked.window, asked.hold)
    print(prometheus.check(programs), flush=True)
    wrong = 0
    async with stack.client() as client, prometheus.running(programs):
        tenant_id = await traffic.prepare(client)
        async with traffic.runs(client, tenant_id):
            target = Target(stack, client, tenant_id)
            await asyncio.sleep(2 * asked.window)
            print(f"before: {sorted(await prometheus.firing()) or 'no alert'}", flush=True)
            for incident in chosen:
                wrong += not await _judge(prometheus, target, incident)
    print(f"\n{len(chosen)} incidents, {wrong} with an alert that did not fire, or not clear")
    return int(wrong > 0)


async def _judge(prometheus: Prometheus, target: Target, incident: Incident) -> bool:
    """Break something until its alerts fire, mend it, and wait until they have cleared."""
    begun = time.monotonic()
    async with incident.broken(target):
        fired = await _until(prometheus, incident, firing=True)
        others = sorted(await prometheus.firing() - incident.alerts)
    seconds = time.monotonic() - begun
    missing = sorted(incident.alerts - fired)
    begun = time.monotonic()
    left = await _until(prometheus, incident, firing=False)
    cleared = time.monotonic() - begun
    print(
        f"{incident.name}: {'NOT FIRED ' + str(missing) if missing else 'fired'} after "
        f"{seconds:.0f} s, {'NOT CLEARED ' + str(sorted(left)) if left else 'cleared'} after "
        f"{cleared:.0f} s; beside it fired {others or 'none'}",
        flush=True,
    )
    return not missing and not left


async def _until(prometheus: Prometheus, incident: Incident, *, firing: bool) -> set[str]:
    """Wait until all alerts of an incident fire, or none does; return those that do."""
    until = time.monotonic() + _LONGEST_SECONDS
    seen: set[str] = set()
    while time.monotonic() < until:
        now = await prometheus.firing() & incident.alerts
        seen = seen | now if firing else now
        if seen >= incident.alerts if firing else not now:
            break
        await asyncio.sleep(0.5)
    return seen


if __name__ == "__main__":
    sys.exit(main())
