"""For how long a part has given no sign of life."""

from __future__ import annotations

import time

# A look, its time-out included, takes less. When one took longer, it was we who did not run.
_LONGEST_LOOK = 7.0


class Silence:
    """Counts only time in which this process ran too.

    While the machine sleeps nobody could have answered, and afterwards everybody answers again.
    """

    def __init__(self, longest_look: float = _LONGEST_LOOK) -> None:
        self._longest_look = longest_look
        self._seconds = 0.0
        self._since: float | None = None

    def end(self) -> None:
        """Something was heard."""
        self._seconds, self._since = 0.0, None

    def go_on(self) -> float:
        """Nothing was heard again; returns for how long by now, from 0 at the first time."""
        now = time.monotonic()
        if self._since is not None:
            self._seconds += min(now - self._since, self._longest_look)
        self._since = now
        return self._seconds
