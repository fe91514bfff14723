"""Restarts, kills and exchanges processes under load: `python -m bench.restarts --balancer NAME`.

Two processes of each service and two workers stand behind a load balancer of
deploy/load-balancers; `grpc` is none: clients and services then balance themselves. Clients call
all services, and bring runs to their end, while the processes are restarted in order (`--rolls`,
both of one service one after the other) and killed (`--kills`).

With `--from COMMIT` the processes of that build are exchanged for this one's and back instead: in
the order of docs/operations/upgrade.md, with the worker last, and with the worker first. That
build's own environment is made before, from git's history.

Exits with 1 when a call failed, a watch had a gap, a run did not end well, or a creation was done
twice. Everything runs in a temporary folder, on free ports, and is gone afterwards.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
from pathlib import Path

from bench import part
from bench.restarts.disturbances import ORDERS, exchange, restart
from bench.restarts.former import former_python
from bench.restarts.installation import BALANCERS, installed
from bench.restarts.judged import judge


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.restarts")
    parser.add_argument("--balancer", choices=BALANCERS, required=True)
    parser.add_argument("--rolls", type=int, default=20, help="rolling restarts of a service")
    parser.add_argument("--kills", type=int, default=10, help="processes killed with -9")
    parser.add_argument("--calls", type=int, default=50_000, help="unary calls, at least")
    parser.add_argument("--rate", type=float, default=150, help="unary calls a second, at most")
    parser.add_argument("--seed", type=int, default=1, help="of what is killed when")
    parser.add_argument("--from", dest="commit", help="the build to upgrade from and roll back to")
    parser.add_argument(
        "--order", choices=ORDERS, action="append", help="of --from, once or more; all without it"
    )
    parser.add_argument("--keep", action="store_true", help="keep the logs of a run that failed")
    asked = parser.parse_args()
    part.run(lambda: _run(asked))


async def _run(asked: argparse.Namespace) -> int:
    folder = Path(tempfile.mkdtemp(prefix="nagaya-restarts-"))
    broken = 1
    try:
        broken = await _judged(asked, folder)
    finally:
        if broken and asked.keep:
            print(f"its logs are in {folder}", flush=True)
        else:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    return 1 if broken else 0


async def _judged(asked: argparse.Namespace, folder: Path) -> int:
    load = {"calls": asked.calls, "rate": asked.rate}
    if asked.commit is None:
        async with installed(folder, asked.balancer) as made:
            title = f"restarts behind {asked.balancer}, seed {asked.seed}"
            return await judge(
                made,
                folder,
                title,
                lambda load: restart(made, load, asked.rolls, asked.kills, asked.seed),
                **load,
            )
    former = await former_python(folder, asked.commit)
    async with installed(folder, asked.balancer, former) as made:
        title = f"upgrade and rollback behind {asked.balancer}, from {asked.commit}"
        pythons = former, sys.executable
        orders = asked.order or [*ORDERS]
        return await judge(
            made, folder, title, lambda load: exchange(made, load, pythons, orders), **load
        )


if __name__ == "__main__":
    main()
