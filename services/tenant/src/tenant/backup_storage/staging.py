"""Folders in which files are staged: lent, and removed when killed processes have left them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator
    from contextlib import AbstractContextManager

_ON_MACHINE = "nagaya-staged-"
_NEW_SECONDS = 60.0
"""For how long a folder without a lock may just have been made."""


@contextmanager
def lent(folder: Path) -> Generator[Path]:
    """Make a folder, empty, which only the service's user can read; remove it after the block."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def lent_locked(root: Path, name: str) -> Generator[Path]:
    """Lend a folder of this machine whose name begins so; what killed processes left of it goes.

    No other gets its name, so whoever removes another one never removes it. It is locked (flock)
    until it is removed, or its process ends.
    """
    remove_left(root, f"{name}.")
    folder = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=root))
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # where there are no locks, `remove_left` gets none
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def lent_on_machine(name: str) -> AbstractContextManager[Path]:
    """Lend a locked folder in the temporary folder of this machine."""
    return lent_locked(Path(tempfile.gettempdir()), f"{_ON_MACHINE}{name}")


def remove_on_machine(prefix: str) -> tuple[int, int]:
    """Remove what `lent_on_machine` has lent by names with a prefix; return as `remove` does."""
    return remove(Path(tempfile.gettempdir()), f"{_ON_MACHINE}{prefix}")


def remove_left_on_machine() -> int:
    """Remove all that `lent_on_machine` has lent and no process uses; return how many."""
    return remove_left(Path(tempfile.gettempdir()), _ON_MACHINE)


def remove(root: Path, prefix: str) -> tuple[int, int]:
    """Remove folders of names with a prefix; return how many files there were, and are left."""
    found = left = 0
    for folder in root.glob(f"{prefix}*"):
        found += _count(folder)
        shutil.rmtree(folder, ignore_errors=True)
        left += _count(folder)
    return found, left


def remove_left(root: Path, prefix: str) -> int:
    """Remove folders of `lent_locked`, of names with a prefix, that no process uses.

    Returns how many. What cannot be looked at, such as another user's, stays.
    """
    return sum(_remove_unlocked(folder) for folder in root.glob(f"{prefix}*"))


def _remove_unlocked(folder: Path) -> bool:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        if os.fstat(descriptor).st_mtime > time.time() - _NEW_SECONDS:
            return False
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(descriptor)


def _count(folder: Path) -> int:
    return sum(1 for path in folder.rglob("*") if not path.is_dir())
