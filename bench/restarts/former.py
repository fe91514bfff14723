"""The environment of a former build, made from git's history."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING

from bench.stack import CLONE
from nagaya_local.errors import PreflightFailed

if TYPE_CHECKING:
    from pathlib import Path

_GIT, _TAR, _MAKE = (shutil.which(tool) or tool for tool in ("git", "tar", "make"))


async def former_python(folder: Path, commit: str) -> str:
    """Install a commit's build below a folder, and return its interpreter.

    Raises PreflightFailed when git does not have it, or it cannot be installed.
    """
    clone, archive = folder / "former", folder / "former.tar"
    print(f"installing {commit} (a minute) ...", flush=True)
    clone.mkdir()
    lacks = "A shallow clone gets its history by `git fetch --unshallow`."
    await _run(lacks, _GIT, "-C", str(CLONE), "archive", "--output", str(archive), commit)
    await _run("", _TAR, "-x", "-f", str(archive), "-C", str(clone))
    await _run("", _MAKE, "-C", str(clone), "install")
    return str(clone / ".venv" / "bin" / "python")


async def _run(remedy: str, *command: str) -> None:
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
    if process.returncode:
        why = said.decode()[-500:] or "it said nothing"
        raise PreflightFailed(f"{' '.join(command)} failed: {why}", remedy)
