"""A file whose content is read again when it changes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Generic, TypeVar

from servicekit.errors import StartRefused

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")

_RECHECK_SECONDS = 1.0


class WatchedFile(Generic[T]):
    """What `read` makes of a file; it stays as it is while the file cannot be read again.

    `read` raises ValueError. `what` is what the file should hold, for the message. `on_failure` is
    called with what is wrong, once while it is the same. Raises StartRefused when the file cannot
    be read at first.
    """

    def __init__(
        self,
        path: Path,
        read: Callable[[bytes], T],
        what: str,
        on_failure: Callable[[str], None],
    ) -> None:
        self._path = path
        self._read = read
        self._on_failure = on_failure
        self._failure = ""
        self._recheck_at = 0.0
        self.generation = 0
        """How often the content has changed."""
        try:
            self._stamp = self._stat()
            self.content = read(path.read_bytes())
        except (OSError, ValueError) as error:
            raise StartRefused(f"{path} holds no {what}: {error}") from None

    def recheck(self) -> None:
        """Read the file again if it has changed; it is looked at once a second at most."""
        if time.monotonic() < self._recheck_at:
            return
        self._recheck_at = time.monotonic() + _RECHECK_SECONDS
        try:
            stamp = self._stat()
            if stamp == self._stamp:
                return
            self.content = self._read(self._path.read_bytes())
        except (OSError, ValueError) as error:
            if str(error) != self._failure:
                self._failure = str(error)
                self._on_failure(self._failure)
            return
        self._stamp, self._failure = stamp, ""
        self.generation += 1

    def _stat(self) -> tuple[int, int, int]:
        stat = self._path.stat()
        return stat.st_ino, stat.st_mtime_ns, stat.st_size
