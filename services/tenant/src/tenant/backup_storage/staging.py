"""Folders in which files are staged: lent, and removed when killed processes have left them.

A process holds a lock on each folder that it uses (flock), which ends with it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

_NEW_SECONDS = 60.0
"""For how long a folder without a lock may just have been made."""


@contextmanager
def lent(folder: Path) -> Generator[Path]:
    """Make a folder, empty, which only the service's user can read; remove it after the block."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def remove(root: Path, prefix: str) -> tuple[int, int]:
    """Remove folders of names with a prefix; return how many files there were, and are left."""
    found = left = 0
    for folder in root.glob(f"{prefix}*"):
        found += _count(folder)
        shutil.rmtree(folder, ignore_errors=True)
        left += _count(folder)
    return found, left


def remove_left(root: Path, prefix: str) -> int:
    """Remove the folders of names with a prefix that no process uses; return how many."""
    removed = 0
    for folder in root.glob(f"{prefix}*"):
        if not _in_use(folder):
            shutil.rmtree(folder, ignore_errors=True)
            removed += 1
    return removed


def _in_use(folder: Path) -> bool:
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        return True  # its process has removed it
    try:
        if os.fstat(descriptor).st_mtime > time.time() - _NEW_SECONDS:
            return True
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def _count(folder: Path) -> int:
    return sum(1 for path in folder.rglob("*") if not path.is_dir())
