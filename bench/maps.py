"""Maps beside the build of a former commit: 100 elements of a function, 1,000 of a short one.

That build is checked out, installed and started in a temporary folder, and ours is started in
another, so that no tenant is left behind. Both stacks are up at once and are asked in turn, so that
a slow machine slows both. A run counts from CreateRun until GetRun says that it has completed.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from google.protobuf import json_format

from bench import part
from bench.goals import Goals
from nagaya.runs.v1 import pipeline_pb2, pipeline_service_pb2, run_pb2, run_service_pb2
from nagaya.tenant.v1 import tenant_service_pb2
from nagaya_client.client import Client
from nagaya_client.settings import local_stack_settings
from nagaya_local.clone.layout import Layout
from nagaya_local.commands import down, up

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

BASELINE = "aac04ae"
"""The last commit whose maps deadlocked in PostgreSQL."""

GOAL = 4.0
TENANT = "bench-maps"
_CLONE = Path(__file__).parents[1]
_GIT, _MAKE = (shutil.which(tool) or tool for tool in ("git", "make"))
_OPEN = (run_pb2.RUN_STATE_PENDING, run_pb2.RUN_STATE_RUNNING, run_pb2.RUN_STATE_PAUSED)


@dataclass(frozen=True, slots=True)
class Kind:
    """A map of so many elements, of short steps or not."""

    name: str
    elements: int
    short: bool
    rounds: int

    def __str__(self) -> str:
        return f"{self.elements:,} {self.name} elements"


KINDS = (
    Kind("function", 100, short=False, rounds=7),
    Kind("short", 1_000, short=True, rounds=3),
)


async def main() -> int:
    with tempfile.TemporaryDirectory(prefix="nagaya-bench-") as name:
        folder = Path(name)
        async with AsyncExitStack() as stack:
            former = await stack.enter_async_context(_client(stack.enter_context(_former(folder))))
            ours = await stack.enter_async_context(_our_stack(folder / "ours"))
            for client in (former, ours):
                await _prepare(client)
            return await _compare(former, ours)


async def _compare(former: Client, ours: Client) -> int:
    goals = Goals()
    for kind in KINDS:
        times: dict[Client, list[float]] = {former: [], ours: []}
        for client in (former, ours):
            await _seconds(client, replace(kind, elements=10))
        for _ in range(kind.rounds):
            for client, taken in times.items():
                taken.append(await _seconds(client, kind))
            theirs, own = times[former][-1], times[ours][-1]
            print(f"{kind}: ours {own:6.2f} s   {BASELINE} {theirs:6.2f} s")
        ratio = statistics.median(times[former]) / statistics.median(times[ours])
        goals.at_least(f"maps, {kind} beside {BASELINE}", ratio, GOAL)
    return goals.exit_code


async def _seconds(client: Client, kind: Kind) -> float:
    """Do a run and return how long it took."""
    request = run_service_pb2.CreateRunRequest(
        tenant_id=TENANT, request_id=uuid.uuid4().hex, pipeline=kind.name
    )
    json_format.Parse(json.dumps(list(range(kind.elements))), request.inline)
    began = time.monotonic()
    run = (await client.runs.CreateRun(request)).run
    get = run_service_pb2.GetRunRequest(tenant_id=TENANT, run_id=run.run_id)
    while run.state in _OPEN:
        await asyncio.sleep(0.02)
        run = (await client.runs.GetRun(get)).run
    if run.state != run_pb2.RUN_STATE_COMPLETED:
        raise RuntimeError(run.error.message)
    return time.monotonic() - began


async def _prepare(client: Client) -> None:
    await client.tenants.CreateTenant(
        tenant_service_pb2.CreateTenantRequest(
            tenant_id=TENANT, request_id=TENANT, name="Benchmark"
        )
    )
    for kind in KINDS:
        step = pipeline_pb2.StepSpec(
            step="each",
            map=pipeline_pb2.MapSpec(step="input"),
            function=pipeline_pb2.FunctionStep(function="constant", short=kind.short),
        )
        await client.pipelines.CreatePipelineVersion(
            pipeline_service_pb2.CreatePipelineVersionRequest(
                tenant_id=TENANT,
                request_id=kind.name,
                pipeline=kind.name,
                spec=pipeline_pb2.PipelineSpec(steps=[step]),
            )
        )


@contextmanager
def _former(folder: Path) -> Generator[Path]:
    """Check the former build out, install and start it; end and remove it afterwards."""
    found = subprocess.run(
        [_GIT, "-C", _CLONE, "cat-file", "-e", f"{BASELINE}^{{commit}}"],
        check=False,
        capture_output=True,
    )
    if found.returncode:
        sys.exit(
            f"git's history here lacks commit {BASELINE}, the baseline: a shallow clone gets it by "
            "`git fetch --unshallow`"
        )
    clone = folder / "former"
    _git("worktree", "add", "--quiet", "--detach", str(clone), BASELINE)
    try:
        print(f"installing and starting {BASELINE} (a minute) ...", flush=True)
        _make(clone, "up")
        yield clone
    finally:
        _make(clone, "down")
        _git("worktree", "remove", "--force", str(clone))


@asynccontextmanager
async def _our_stack(folder: Path) -> AsyncGenerator[Client]:
    """Start this build with data of its own; end it afterwards."""
    layout = Layout(folder)
    try:
        await up(layout, _say)
        async with _client(folder) as client:
            yield client
    finally:
        await down(layout, _say)


@asynccontextmanager
async def _client(clone: Path) -> AsyncGenerator[Client]:
    async with Client.connect(local_stack_settings(clone)) as client:
        yield client


def _git(*arguments: str) -> None:
    subprocess.run([_GIT, "-C", _CLONE, *arguments], check=True)


def _make(clone: Path, target: str) -> None:
    done = subprocess.run([_MAKE, "-C", clone, target], check=False, capture_output=True)
    if done.returncode:
        raise RuntimeError(f"make {target} of {BASELINE} failed: {done.stderr.decode()[-500:]}")


def _say(line: str) -> None:
    """Leave out how the parts come up."""


if __name__ == "__main__":
    part.run(main)
