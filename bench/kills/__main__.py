"""Kills everything while it works, and judges from outside what is left: `python -m bench.kills`.

`gateway` asks many keys at two gateways that are killed and frozen, on a PostgreSQL that is killed
too. `worker` has runs of all kinds done by two workers that are killed and frozen, with a Temporal
and an artifacts service that are killed. `steering` has runs of eight tenants paused, resumed,
cancelled and retried at random while every part is killed. `rollout` migrates 200 tenants, three of
which cannot be, by a tenant service that is killed 20 times.

With `--broken` one of the workers of `worker` records nothing of what it does: the proof that such
a fault is noticed. Then it exits with 1 when no promise was found broken.

Everything runs in a temporary folder, on free ports, and is gone afterwards. Exits with 1 when a
promise was broken. The instants follow from the seed; what they meet depends on the machine.
"""

from __future__ import annotations

import argparse
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

from bench.kills import gateway, rollout, steering, worker

PARTS = ("gateway", "worker", "steering", "rollout")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.kills")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; or all")
    parser.add_argument("--calls", type=int, default=gateway.CALLS, help="keys of the gateway's")
    parser.add_argument("--runs", type=int, default=worker.RUNS, help="runs of the worker's")
    parser.add_argument("--steered", type=int, default=steering.RUNS, help="runs of steering's")
    parser.add_argument("--tenants", type=int, default=rollout.TENANTS, help="of the rollout")
    parser.add_argument("--kills", type=int, default=rollout.KILLS, help="of the rollout's process")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    parser.add_argument("--broken", action="store_true", help="let a worker record nothing")
    parser.add_argument("--keep", action="store_true", help="keep what is left in its folder")
    arguments = parser.parse_args()
    if arguments.broken:
        arguments.parts = ["worker"]
    unknown = sorted({*arguments.parts} - {*PARTS})
    if unknown:
        parser.error(f"there is no part {', '.join(unknown)}")
    print(f"seed {arguments.seed}", flush=True)
    broken = 0
    for part in arguments.parts or PARTS:
        print(f"\n== {part}", flush=True)
        folder = Path(tempfile.mkdtemp(prefix="nagaya-kills-"))
        try:
            broken += _run(part, arguments, folder)
        finally:
            if arguments.keep:
                print(f"everything is in {folder}")
            else:
                shutil.rmtree(folder, ignore_errors=True)
    print(f"\n{broken} promises broken")
    return int(bool(broken) is not arguments.broken)


def _run(part: str, asked: argparse.Namespace, folder: Path) -> int:
    """Run one part and return how many promises were broken."""
    if part == "gateway":
        return gateway.run(asked.calls, asked.seed, folder)
    if part == "worker":
        return worker.run(asked.runs, asked.seed, folder, broken=asked.broken)
    if part == "steering":
        return steering.run(asked.steered, asked.seed, folder)
    return rollout.run(asked.tenants, asked.kills, asked.seed, folder)


if __name__ == "__main__":
    sys.exit(main())
