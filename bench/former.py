"""The build of a former commit, checked out, installed and started for as long as a block lasts."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from bench.stack import CLONE
from nagaya_local.errors import PreflightFailed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

COMMIT = "aac04ae"
"""The build of 2026-11-29: the last commit whose maps deadlocked in PostgreSQL."""

_GIT, _MAKE = (shutil.which(tool) or tool for tool in ("git", "make"))


@asynccontextmanager
async def former_build(folder: Path) -> AsyncGenerator[Path]:
    """Start that build in a work tree below `folder`; end and remove it afterwards.

    Yields the work tree, whose stack is up. Raises PreflightFailed when git does not have it.
    """
    if await _run(_GIT, "-C", str(CLONE), "cat-file", "-e", f"{COMMIT}^{{commit}}"):
        raise PreflightFailed(
            f"git's history here lacks commit {COMMIT}, the baseline",
            "A shallow clone gets it by `git fetch --unshallow`.",
        )
    clone = folder / "former"
    await _git("worktree", "prune")  # what a run that was killed has left
    try:
        await _git("worktree", "add", "--quiet", "--detach", str(clone), COMMIT)
        print(f"installing and starting {COMMIT} (a minute) ...", flush=True)
        await _make(clone, "up")
        yield clone
    finally:
        if clone.exists():
            with suppress(RuntimeError):  # why it did not start says more
                await _make(clone, "clean", "YES=1")
            await _git("worktree", "remove", "--force", str(clone))


async def _git(*arguments: str) -> None:
    if why := await _run(_GIT, "-C", str(CLONE), *arguments):
        raise RuntimeError(f"git {' '.join(arguments)} failed: {why}")


async def _make(clone: Path, *arguments: str) -> None:
    if why := await _run(_MAKE, "-C", str(clone), *arguments):
        raise RuntimeError(f"make {' '.join(arguments)} of {COMMIT} failed: {why[-500:]}")


async def _run(*command: str) -> str:
    """Run a command; return why it failed, or nothing. It is ended when the caller is cancelled."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, said = await process.communicate()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    return "" if process.returncode == 0 else said.decode() or "it said nothing"
