"""The examples of the Go client: built, and started on a stack."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.stack import LocalStack

CLIENT = Path(__file__).resolve().parents[2] / "clients" / "go"


def build_into(folder: Path) -> None:
    """Build the examples into a folder. Raises CalledProcessError; the compiler's words are shown.

    The first build fetches and compiles gRPC for Go: two minutes on two cores, once.
    """
    go = shutil.which("go")
    assert go is not None, "Go is needed: https://go.dev/dl"
    build = (go, "build", "-mod=readonly", "-o", str(folder), "./examples/...")
    subprocess.run(build, cwd=CLIENT, check=True)


async def start(
    program: Path, stack: LocalStack, *arguments: str, direct: bool = False
) -> asyncio.subprocess.Process:
    """Start a program that talks to a stack, through Envoy or directly."""
    return await asyncio.create_subprocess_exec(
        program,
        *arguments,
        env=os.environ | stack.environment(direct=direct),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
