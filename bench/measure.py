"""Rounds of load on several servers in turn, with what each round cost their processes."""

from __future__ import annotations

import asyncio
import statistics
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from bench.cpu import cpu_seconds
from bench.goals import spread, table
from bench.load import Report
from nagaya_local.machine import running
from nagaya_local.machine.processes import stop

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from nagaya_local.machine.programs import Program

SubjectT = TypeVar("SubjectT")
# What a call leaves to be done after its answer, such as chaining the audit log, counts too.
_AFTERWARDS_SECONDS = 0.5
# Node and its like compile what runs often: their first seconds cost several times the later ones.
_WARM_SECONDS = 4.0


@dataclass(frozen=True, slots=True)
class Subject:
    """What is loaded by so many clients for so many seconds, and the processes that do the work."""

    name: str
    load: Callable[[int, float], Awaitable[Report]]
    pids: Callable[[], Mapping[str, int]]


@dataclass(slots=True)
class Samples:
    """The rounds of one subject at one number of clients."""

    reports: list[Report] = field(default_factory=list)
    costs: list[Mapping[str, float]] = field(default_factory=list)
    """CPU milliseconds a call, by process."""
    answered: int = 0
    """How many calls were answered, those that warmed up too."""

    @property
    def rates(self) -> list[float]:
        return [report.rate for report in self.reports]

    @property
    def p50(self) -> list[float]:
        return [report.p50_ms for report in self.reports]

    @property
    def p99(self) -> list[float]:
        return [report.p99_ms for report in self.reports]

    @property
    def cpu(self) -> list[float]:
        """CPU milliseconds a call of all processes."""
        return [sum(cost.values()) for cost in self.costs]

    @property
    def client_share(self) -> float:
        """How much of one core the clients took."""
        return statistics.median(report.client_share for report in self.reports)

    @property
    def cpu_by_process(self) -> str:
        """The medians, the largest first: `llm-gateway 1.47 + postgres 0.48`."""
        names = self.costs[0]
        middle = {name: statistics.median(cost[name] for cost in self.costs) for name in names}
        shown = sorted(((ms, name) for name, ms in middle.items() if ms >= 0.005), reverse=True)
        return " + ".join(f"{name} {ms:.2f}" for ms, name in shown)


def details(at: str, unit: str, found: Mapping[str, Samples]) -> None:
    """Print a table of every figure of the samples."""
    table(
        (
            at,
            f"{unit}s/s",
            "p50 ms",
            "p99 ms",
            f"CPU ms a {unit}",
            "by process",
            "clients' share of a core",
        ),
        (
            (
                name,
                spread(samples.rates, digits=0 if unit == "call" else 1),
                spread(samples.p50),
                spread(samples.p99),
                spread(samples.cpu, digits=2),
                samples.cpu_by_process,
                f"{samples.client_share:.2f}",
            )
            for name, samples in found.items()
        ),
    )


async def rounds(
    subjects: Sequence[Subject], clients: int, seconds: float, count: int
) -> dict[str, Samples]:
    """Load the subjects in turn, in the opposite order every other round, once to warm up."""
    found = {subject.name: Samples() for subject in subjects}
    for subject in subjects:
        report, _ = await one_round(subject, clients, _WARM_SECONDS)
        found[subject.name].answered += report.calls
    for number in range(count):
        for subject in in_turn(subjects, number):
            report, cost = await one_round(subject, clients, seconds)
            found[subject.name].answered += report.calls
            found[subject.name].reports.append(report)
            found[subject.name].costs.append(cost)
    return found


def in_turn(subjects: Sequence[SubjectT], number: int) -> Iterable[SubjectT]:
    """Return the subjects, turned around in every other round."""
    return subjects if number % 2 == 0 else reversed(subjects)


async def one_round(
    subject: Subject, clients: int, seconds: float
) -> tuple[Report, Mapping[str, float]]:
    """Load a subject; return what the clients saw, and its CPU milliseconds a call."""
    pids = subject.pids()
    before = cpu_seconds(pids)
    report = await subject.load(clients, seconds)
    await asyncio.sleep(_AFTERWARDS_SECONDS)
    after = cpu_seconds(pids)
    return report, {name: 1000 * (after[name] - before[name]) / report.calls for name in pids}


async def drive(do: Callable[[], Awaitable[None]], clients: int, seconds: float) -> Report:
    """Let so many clients, all in this process, do a thing again and again."""
    took: list[float] = []
    cpu, began = time.process_time(), time.monotonic()

    async def client() -> None:
        while time.monotonic() < began + seconds:
            sent = time.perf_counter()
            await do()
            took.append(1000 * (time.perf_counter() - sent))

    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(client())
    ended = time.monotonic()
    took.sort()
    p50, p99 = took[len(took) // 2], took[len(took) * 99 // 100]
    return Report(len(took), ended - began, p50, p99, time.process_time() - cpu)


@asynccontextmanager
async def process(program: Program, log: Path) -> AsyncGenerator[int]:
    """Run a program for the block; yields its process id."""
    started = await running.start(program, log, seconds=120)
    try:
        yield started.pid
    finally:
        await stop(started, program.stopping)
