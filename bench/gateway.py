"""Calls through our gateway, beside LiteLLM's and Portkey's on the same provider.

The provider is nginx, which answers at once. Ours takes the call's key in the tenant's database,
records the attempt, stores the reply, settles and writes the audit log, all of it before the
answer; the peers store nothing. All run at once and are loaded in turn, by clients that each have
a connection of their own. `python -m bench.gateway ROUNDS` takes fewer rounds, or more.
"""

from __future__ import annotations

import json
import sys
import tempfile
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bench import load, measure, part
from bench.goals import Goals, ratio, spread
from bench.load import Target
from bench.measure import Subject
from bench.mock import MODEL, Mock
from bench.ours import OurCalls, ask_mock, held_run, prompt
from bench.peers.gateways import LiteLLM, Portkey
from bench.peers.install import PeerMissing
from bench.stack import our_stack

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    from bench.load import Report
    from bench.measure import Samples
    from bench.ours import Kind
    from nagaya_client.client import Client

PARTS = ("postgres", "s3", "tenant", "artifacts", "llm-gateway", "runs")
ROUNDS = 5
MOST_CALLS_A_SECOND = 2000
SECONDS = {32: 3.0, 1: 2.0}
OURS, STREAM, MOCK = "ours", "ours, streaming", "mock"
LITELLM, LITELLM_2, PORTKEY = "LiteLLM", "LiteLLM, 2 workers", "Portkey"


async def main(rounds: int) -> int:
    goals, program = Goals(), load.build()
    async with AsyncExitStack() as blocks:
        folder = Path(blocks.enter_context(tempfile.TemporaryDirectory(prefix="nagaya-bench-")))
        calls, nagaya, mock, mock_pid = await blocks.enter_async_context(our_calls(folder))

        def ours(name: str, kind: Kind) -> Subject:
            requests = calls.requests(kind)
            return _subject(name, program, calls.target(kind), requests, lambda: calls.stack.pids)

        at_mock = Target("http", f"127.0.0.1:{mock.port}", "/v1/chat/completions", {})
        subjects = [
            ours(OURS, "grpc"),
            ours(STREAM, "stream"),
            _subject(MOCK, program, at_mock, openai_requests, lambda: {MOCK: mock_pid}),
        ]
        missing = await _start_peers(blocks, program, folder, mock, subjects)
        for clients, seconds in SECONDS.items():
            found = await measure.rounds(subjects, clients, seconds, rounds)
            _judge(goals, clients, found, missing)
            calls.answered += found[OURS].answered + found[STREAM].answered
        await calls.check(nagaya)
    return goals.exit_code


@asynccontextmanager
async def our_calls(folder: Path) -> AsyncGenerator[tuple[OurCalls, Client, Mock, int]]:
    """Start our stack and the mock, and let the one ask the other."""
    mock = Mock(folder / "mock")
    async with (
        measure.process(mock, folder / "mock.log") as pid,
        our_stack(PARTS) as stack,
        stack.client() as nagaya,
    ):
        calls = OurCalls(stack, await held_run(nagaya))
        await ask_mock(nagaya, mock)
        yield calls, nagaya, mock, pid


def _subject(
    name: str,
    program: Path,
    target: Target,
    requests: Callable[[int], Sequence[bytes]],
    pids: Callable[[], Mapping[str, int]],
) -> Subject:
    async def send(clients: int, seconds: float) -> Report:
        prepared = requests(int(seconds * MOST_CALLS_A_SECOND))
        return await load.send(program, target, prepared, clients, seconds)

    return Subject(name, send, pids)


async def _start_peers(
    blocks: AsyncExitStack, program: Path, folder: Path, mock: Mock, subjects: list[Subject]
) -> dict[str, str]:
    """Start what can be installed, add it to the subjects; return why others are missing."""
    peers: dict[str, Callable[[], LiteLLM | Portkey]] = {
        LITELLM: lambda: LiteLLM(folder / "litellm-1", mock.unary_url, 1),
        LITELLM_2: lambda: LiteLLM(folder / "litellm-2", mock.unary_url, 2),
        PORTKEY: lambda: Portkey(folder / "portkey", mock.unary_url),
    }
    missing: dict[str, str] = {}
    for name, make in peers.items():
        try:
            peer = make()
        except PeerMissing as error:
            missing[name] = error.message
            continue
        pid = await blocks.enter_async_context(measure.process(peer, folder / f"{name}.log"))
        pids = {name: pid}
        subjects.append(
            _subject(name, program, peer.target, openai_requests, lambda pids=pids: pids)
        )
    return missing


def _judge(goals: Goals, clients: int, found: dict[str, Samples], missing: dict[str, str]) -> None:
    at = "1 client" if clients == 1 else f"{clients} clients"
    for name, why in missing.items():
        goals.not_measured(f"gateway beside {name}, {at}", why)
    if clients == 1:
        _judge_latency(goals, at, found)
    else:
        _judge_throughput(goals, at, found)
    measure.details(at, "call", found)


def _judge_throughput(goals: Goals, at: str, found: dict[str, Samples]) -> None:
    ours = found[OURS]
    for name, goal in ((LITELLM, 8.0), (LITELLM_2, None), (PORTKEY, 0.75), (MOCK, None)):
        if (peer := found.get(name)) is None:
            continue
        times = ratio(ours.rates, peer.rates)
        cells = (spread(ours.rates, "calls/s"), f"{name} {spread(peer.rates, 'calls/s')}")
        if goal is None:
            goals.shown(f"calls/s, {at}", *cells, times)
        else:
            goals.at_least(f"calls/s, {at}", times, goal, *cells)
    for name, goal in ((LITELLM, 0.15), (PORTKEY, 1.4)):
        if (peer := found.get(name)) is not None:
            cells = (spread(ours.cpu, "ms", 2), f"{name} {spread(peer.cpu, 'ms', 2)}")
            goals.at_most(f"CPU a call, {at}", ratio(ours.cpu, peer.cpu), goal, *cells)
    stream = found[STREAM].rates
    cells = (spread(stream, "calls/s"), f"unary {spread(ours.rates, 'calls/s')}")
    goals.at_least(f"calls/s streaming, {at}", ratio(stream, ours.rates), 0.8, *cells)


def _judge_latency(goals: Goals, at: str, found: dict[str, Samples]) -> None:
    ours = found[OURS].p50
    for name, added, goal in ((LITELLM, 0.0, 0.3), (PORTKEY, 4.0, 1.0)):
        if (peer := found.get(name)) is None:
            continue
        allowed = [ms + added for ms in peer.p50]
        shown = f"{name} {spread(peer.p50, 'ms')}" + (f" + {added:.0f} ms" if added else "")
        goals.at_most(f"p50, {at}", ratio(ours, allowed), goal, spread(ours, "ms"), shown)


def openai_requests(count: int) -> list[bytes]:
    """Return requests that say what ours say, in the peers' format."""
    return [
        json.dumps(
            {
                "model": MODEL,
                "max_completion_tokens": 2000,
                "messages": [{"role": "user", "content": prompt(number)}],
            }
        ).encode()
        for number in range(count)
    ]


if __name__ == "__main__":
    part.run(lambda: main(int(sys.argv[1]) if sys.argv[1:] else ROUNDS))
