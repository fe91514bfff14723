"""The TypeScript client of this clone, installed and built once for all test processes."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

CLONE = Path(__file__).resolve().parents[2]
CLIENT = CLONE / "clients" / "typescript"
_PROTOS = CLONE / "protos"
_LOCK = CLONE / ".cache" / "typescript.lock"
_MANIFESTS = ("package.json", "package-lock.json", ".npmrc")
_MADE = {"node_modules", "dist", "gen"}


def build_client() -> Path:
    """Return the client's folder, with `node_modules` and `dist` of what stands there now.

    Raises CalledProcessError when a tool refuses; what it printed is shown.
    """
    manifests = [CLIENT / name for name in _MANIFESTS]
    with _locked():
        _once(CLIENT / "node_modules" / ".installed", manifests, "ci", "--no-audit", "--no-fund")
        sources = [*_files(CLIENT), *_PROTOS.rglob("*.proto"), _PROTOS / "buf.yaml"]
        _once(CLIENT / "dist" / ".built", sources, "run", "--silent", "build")
    return CLIENT


def npm(*arguments: str) -> None:
    """Run npm in the client's folder. Raises CalledProcessError."""
    program = shutil.which("npm")
    assert program is not None, "Node.js 20 or newer with npm is needed: https://nodejs.org"
    done = subprocess.run(
        (program, *arguments), cwd=CLIENT, text=True, capture_output=True, check=False
    )
    if done.returncode:
        sys.stderr.write(f"{done.stdout[-8000:]}\n{done.stderr[-4000:]}\n")
    done.check_returncode()


def _once(stamp: Path, files: Iterable[Path], *arguments: str) -> None:
    """Run npm unless it was run for files of this content."""
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(f"{file}\0".encode() + file.read_bytes())
    if not stamp.exists() or stamp.read_text() != digest.hexdigest():
        npm(*arguments)
        stamp.write_text(digest.hexdigest())


def _files(folder: Path) -> list[Path]:
    return [
        file
        for file in folder.rglob("*")
        if file.is_file() and not _MADE.intersection(file.relative_to(folder).parts)
    ]


@contextmanager
def _locked() -> Generator[None]:
    _LOCK.parent.mkdir(exist_ok=True)
    descriptor = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
