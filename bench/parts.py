"""The parts of the benchmark: each a process, whose rows are collected while it prints them."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from bench.goals import GOALS_MISSED, HEADER, Row
from bench.part import INTERRUPTED

if TYPE_CHECKING:
    from types import FrameType

PARTS = {
    "overhead": "the interceptor's CPU, beside a bare gRPC server",
    "create_tenant": "creating a tenant",
    "rollout": "a migration on its way to 200 tenants",
    "moves": "moves of a tenant that is written to",
    "many_tenants": "2,000 tenants on one server",
    "two_tenants": "a tenant beside a busy one",
    "artifacts": "files, beside the raw S3 client",
    "gateway": "calls, beside LiteLLM and Portkey",
    "gateway_memory": "memory after 100,000 calls",
    "runs": "runs of three steps, beside a raw Temporal worker and DBOS",
    "run_lists": "lists of 100,000 runs by what few are, beside the first page of all",
    "fairness": "runs of tenants beside a long queue of another",
    "maps": "maps, beside the build of 2026-11-29",
}


class Part:
    """The process of one part, with what it has printed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.rows: list[Row] = []
        self.details: list[str] = []
        self.code = 0
        self.seconds = 0.0

    def run(self) -> None:
        """Run it, showing what it prints."""
        began = time.monotonic()
        # A session of its own: Ctrl-C reaches it once, through this process.
        with subprocess.Popen(
            [sys.executable, "-u", "-m", f"bench.{self.name}"],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:

            def forward(number: int, _: FrameType | None) -> None:
                process.send_signal(number)
                self.code = INTERRUPTED

            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, forward)
            for line in process.stdout or ():
                print(line, end="", flush=True)
                self._take(line.rstrip())
        self.code = self.code or process.returncode
        self.seconds = time.monotonic() - began

    def _take(self, line: str) -> None:
        if (row := Row.parse(line)) is not None:
            self.rows.append(row)
        elif line.startswith("|") or (not line and self.details):
            self.details.append(line)

    @property
    def interrupted(self) -> bool:
        return self.code == INTERRUPTED

    @property
    def failed(self) -> bool:
        """Whether it ended before it had measured everything."""
        return self.code not in (0, GOALS_MISSED)


def markdown(parts: list[Part]) -> list[str]:
    """Return the lines of all tables."""
    lines = [f"Measured on {datetime.now(UTC):%Y-%m-%d}."]
    for part in parts:
        failed = ["", "**Failed before everything was measured.**"] if part.failed else []
        head = ["", f"| {' | '.join(HEADER)} |", f"|{'---|' * len(HEADER)}"]
        lines += ["", f"### {part.name}: {PARTS[part.name]}", *failed]
        lines += [*head, *map(str, part.rows)] if part.rows else []
        lines += ["", *part.details] if part.details else []
    return lines
