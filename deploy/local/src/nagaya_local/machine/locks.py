"""Locks between processes, held by a file descriptor: a kill releases them."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from nagaya_local.machine.waiting import until

if TYPE_CHECKING:
    from pathlib import Path


class Lock:
    """A lock on a file; also tells whether somebody else holds it."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def take(self) -> bool:
        """Take the lock if it is free; return whether it was taken."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    async def take_within(self, seconds: float) -> bool:
        """Take the lock once it is free; return whether it was taken in time.

        A command that asks `is_held` has it for an instant.
        """
        return await until(self.take, seconds)

    def close(self) -> None:
        os.close(self._descriptor)


def is_held(path: Path) -> bool:
    """Whether a process holds the lock on this file."""
    if not path.exists():
        return False
    lock = Lock(path)
    try:
        return not lock.take()
    finally:
        lock.close()
