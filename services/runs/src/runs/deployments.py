"""`python -m runs.deployments`: which builds of the worker there are, and which new runs get."""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import TYPE_CHECKING

from temporalio.service import RPCError

from runs.config import read_temporal_config
from runs.errors import TemporalUnavailable
from runs.temporal.client import connect
from runs.temporal.deployments import VersionUnknown, WorkerDeployments, deployment_name
from servicekit.errors import StartRefused
from servicekit.process import leave
from servicekit.settings import SettingsInvalid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runs.temporal_config import TemporalConfig


async def _run(config: TemporalConfig, command: str, build_id: str) -> int:
    try:
        client = await connect(config, lazy=False)
    except RuntimeError:  # so the SDK says that it cannot connect
        raise StartRefused(f"Temporal cannot be reached at {config.address}") from None
    own = deployment_name(config.task_queue)
    deployments = WorkerDeployments(client, own)
    if command == "current":
        await deployments.make_current(own, build_id)
    versions = (
        await deployments.remove_drained()
        if command == "remove-drained"
        else await deployments.versions()
    )
    for one in versions:
        sys.stdout.write(f"{one.deployment} {one.build_id} {one.state}\n")
    return 0


def main(arguments: Sequence[str]) -> int:
    """Do what the arguments say. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m runs.deployments",
        description="List the builds of the worker and how they stand; have new runs begin on one;"
        " remove those that nothing is left to do of. TEMPORAL_ADDRESS, NAGAYA_TEMPORAL_NAMESPACE"
        " and NAGAYA_TASK_QUEUE say where.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="list them")
    current = commands.add_parser("current", help="have new runs begin on a build, and list them")
    current.add_argument("build_id", metavar="BUILD")
    commands.add_parser("remove-drained", help="remove and list those that are drained")
    given = parser.parse_args(arguments)
    try:
        config = read_temporal_config()
        return asyncio.run(_run(config, given.command, getattr(given, "build_id", "")))
    except SettingsInvalid as error:
        why = "; ".join(error.problems)
    except (StartRefused, RPCError, TemporalUnavailable, VersionUnknown) as error:
        why = str(error)
    sys.stderr.write(f"{parser.prog}: {why}\n")
    return 2


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
