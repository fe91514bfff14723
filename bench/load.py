"""Drives the load program: prepared requests from many clients, in a process of its own.

The program is Go, so that the clients cost a tenth of what they ask for: on two cores a client in
Python would be what is measured. It is built on demand and kept in `.cache/bench`.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import struct
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bench.stack import CLONE
from nagaya_local.errors import PreflightFailed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_SOURCES = ("clients/go/go.mod", "clients/go/go.sum", "bench/load/main.go")
_FOLDER = CLONE / ".cache" / "bench" / "load"


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go, and how."""

    kind: Literal["http", "grpc", "stream"]
    address: str
    path: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Report:
    """What clients have seen."""

    calls: int
    seconds: float
    p50_ms: float
    p99_ms: float
    cpu_seconds: float
    """Of the clients themselves."""
    failed: int = 0
    failure: str = ""

    @property
    def rate(self) -> float:
        """Calls a second."""
        return self.calls / self.seconds

    @property
    def client_share(self) -> float:
        """How much of one core the clients took."""
        return self.cpu_seconds / self.seconds


def build() -> Path:
    """Return the program, built if it is not there yet. Raises PreflightFailed."""
    program, module = _FOLDER / "load", _FOLDER / "module"
    sources = [CLONE / source for source in _SOURCES]
    if program.exists() and program.stat().st_mtime > max(s.stat().st_mtime for s in sources):
        return program
    go = shutil.which("go")
    if go is None:
        raise PreflightFailed("Go is not on PATH, and the clients are Go", "Install Go ≥ 1.25.")
    shutil.rmtree(_FOLDER, ignore_errors=True)
    module.mkdir(parents=True)
    for source in sources:
        shutil.copy(source, module)
    print("building the load program (two minutes, once) ...", flush=True)
    build = (go, "build", "-mod=readonly", "-o", str(program), ".")
    done = subprocess.run(build, cwd=module, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PreflightFailed(f"the load program was not built: {done.stderr[-800:]}", "Mend that.")
    return program


async def send(
    program: Path, target: Target, requests: Sequence[bytes], clients: int, seconds: float
) -> Report:
    """Send the requests, each once, until the time is over. Raises RuntimeError if one fails."""
    headers = [f"{name}:{value}" for name, value in target.headers.items()]
    where = (target.kind, target.address, target.path, str(clients), str(seconds))
    process = await asyncio.create_subprocess_exec(
        program,
        *where,
        *headers,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    framed = b"".join(struct.pack(">I", len(request)) + request for request in requests)
    try:
        output, _ = await process.communicate(framed)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    report = Report(**json.loads(output))
    if report.failed or not report.calls:
        raise RuntimeError(f"{report.failed} calls failed, such as: {report.failure}")
    return report
