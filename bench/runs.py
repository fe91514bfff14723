"""Runs of three steps, beside a raw Temporal worker and DBOS.

Ours counts from CreateRun until the watch has seen the run completed: by then every row, event and
file is committed. The raw worker is asked on the same Temporal server, from start_workflow to its
result; it keeps no record. DBOS has a PostgreSQL of the same kind; there a client puts workflows
into a queue that a worker works off, as ours and Temporal do it, and beside that one process calls
its own workflows. All are asked in turn.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import uuid
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from temporalio.client import Client as Temporal

from bench import measure, part
from bench.goals import Goals, ratio, spread
from bench.measure import Subject, drive
from bench.mock import Mock
from bench.ours import TENANT, ask_mock
from bench.peers.dbos_processes import dbos
from bench.peers.install import PeerMissing
from bench.peers.raw_temporal import Sandboxed, Unsandboxed
from bench.pipelines import Chain
from bench.stack import SERVICES, create_tenant, our_stack

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from bench.measure import Samples
    from bench.peers.dbos_processes import Dbos
    from bench.stack import Stack
    from nagaya_client.client import Client

PARTS = ("postgres", "s3", "temporal", *SERVICES, "runs-worker")
ROUNDS = 5
SECONDS = {16: 4.0, 1: 2.0}
SHORT, FUNCTION, LLM = "short", "function", "llm"
RAW, RAW_UNSANDBOXED, RAW_HTTP = "Temporal", "Temporal, no sandbox", "Temporal with HTTP"
DBOS, DBOS_INSIDE = "DBOS", "DBOS, one process"
CHAINS = {kind: Chain(kind) for kind in (SHORT, FUNCTION, LLM)}
LONG_CHAIN = Chain(SHORT, 12)


async def main(rounds: int) -> int:
    goals = Goals()
    async with AsyncExitStack() as blocks:
        folder = Path(blocks.enter_context(tempfile.TemporaryDirectory(prefix="nagaya-bench-")))
        mock = Mock(folder / "mock")
        await blocks.enter_async_context(measure.process(mock, folder / "mock.log"))
        stack = await blocks.enter_async_context(our_stack(PARTS))
        nagaya = await blocks.enter_async_context(stack.client())
        await _prepare(nagaya, mock)
        temporal = await Temporal.connect(stack.endpoints.temporal)
        subjects = [
            *(_ours(kind, chain, nagaya, stack) for kind, chain in CHAINS.items()),
            *await blocks.enter_async_context(_raw(stack, temporal, mock)),
        ]
        why = ""
        try:
            subjects += _dbos(await blocks.enter_async_context(dbos(folder)))
        except PeerMissing as error:
            why = error.message
        for clients, seconds in SECONDS.items():
            found = await measure.rounds(subjects, clients, seconds, rounds)
            _judge(goals, clients, found, why)
        await _histories(goals, nagaya, temporal)
    return goals.exit_code


async def _prepare(nagaya: Client, mock: Mock) -> None:
    await create_tenant(nagaya, TENANT)
    for chain in (*CHAINS.values(), LONG_CHAIN):
        await chain.create(nagaya)
    await ask_mock(nagaya, mock)


def _ours(kind: str, chain: Chain, nagaya: Client, stack: Stack) -> Subject:
    async def run() -> None:
        await chain.run(nagaya)

    return Subject(kind, lambda clients, seconds: drive(run, clients, seconds), lambda: stack.pids)


@asynccontextmanager
async def _raw(stack: Stack, temporal: Temporal, mock: Mock) -> AsyncGenerator[list[Subject]]:
    """Run a raw worker for the block."""
    queue = f"bench-{uuid.uuid4().hex[:8]}"
    where = (stack.endpoints.temporal, queue, mock.unary_url)
    worker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.peers.raw_temporal", *where),
        stdout=asyncio.subprocess.PIPE,
    )
    pids = {"temporal": stack.pids["temporal"], "raw worker": worker.pid}

    def subject(name: str, workflow: type[Sandboxed | Unsandboxed], activity: str) -> Subject:
        async def run() -> None:
            await temporal.execute_workflow(
                workflow.run, activity, id=uuid.uuid4().hex, task_queue=queue
            )

        return Subject(name, lambda clients, seconds: drive(run, clients, seconds), lambda: pids)

    try:
        if worker.stdout is None or not await worker.stdout.readline():
            raise RuntimeError("the raw worker does not work")
        yield [
            subject(RAW, Sandboxed, "nothing"),
            subject(RAW_UNSANDBOXED, Unsandboxed, "nothing"),
            subject(RAW_HTTP, Sandboxed, "ask"),
        ]
    finally:
        if worker.returncode is None:
            worker.terminate()
        await worker.wait()


def _dbos(peer: Dbos) -> list[Subject]:
    return [
        Subject(DBOS, peer.client.load, lambda: peer.client_pids),
        Subject(DBOS_INSIDE, peer.inside.load, lambda: peer.inside_pids),
    ]


def _judge(goals: Goals, clients: int, found: Mapping[str, Samples], no_dbos: str) -> None:
    at = "1 client" if clients == 1 else f"{clients} clients"
    if clients == 1:
        ours, raw = found[SHORT].p50, found[RAW].p50
        cells = (spread(ours, "ms"), f"{RAW} {spread(raw, 'ms')}")
        goals.at_most(f"p50, {SHORT}, {at}", ratio(ours, raw), 1.0, *cells)
    else:
        _judge_rates(goals, at, found)
        if no_dbos:
            goals.not_measured(f"runs/s, {SHORT}, {at}, beside DBOS", no_dbos)
    measure.details(at, "run", found)


def _judge_rates(goals: Goals, at: str, found: Mapping[str, Samples]) -> None:
    for kind, name, goal in (
        (SHORT, RAW, 1.3),
        (SHORT, RAW_UNSANDBOXED, None),
        (SHORT, DBOS, 0.7),
        (SHORT, DBOS_INSIDE, None),
        (FUNCTION, RAW, 0.9),
        (LLM, RAW_HTTP, 1.0),
    ):
        if (peer := found.get(name)) is None:
            continue
        ours = found[kind].rates
        times = ratio(ours, peer.rates)
        cells = (spread(ours, "runs/s"), f"{name} {spread(peer.rates, 'runs/s')}")
        if goal is None:
            goals.shown(f"runs/s, {kind}, {at}", *cells, times)
        else:
            goals.at_least(f"runs/s, {kind}, {at}", times, goal, *cells)


async def _histories(goals: Goals, nagaya: Client, temporal: Temporal) -> None:
    """Judge what a run leaves in Temporal."""
    events: dict[Chain, int] = {}
    for chain in (*CHAINS.values(), LONG_CHAIN):
        handle = temporal.get_workflow_handle(f"{TENANT}/{await chain.run(nagaya)}")
        await handle.result()
        info = (await handle.describe()).raw_description.workflow_execution_info
        events[chain] = info.history_length
        limit = 4096 + 1024 * chain.steps
        cells = (f"{info.history_size_bytes:,} bytes", f"{limit:,} bytes: 4 KiB + 1 KiB a step")
        name = f"history, {chain.kind}, {chain.steps} steps, {info.history_length} events"
        goals.at_most(name, info.history_size_bytes / limit, 1.0, *cells)
    three, many = events[CHAINS[SHORT]], events[LONG_CHAIN]
    cells = (f"{many} events", f"{three} events of {CHAINS[SHORT].steps} steps")
    name = f"history events, {LONG_CHAIN.steps} {SHORT} steps"
    goals.at_most(name, many / three, 1.0, *cells)


if __name__ == "__main__":
    part.run(lambda: main(int(sys.argv[1]) if sys.argv[1:] else ROUNDS))
