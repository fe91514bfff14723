"""The time for which a part has not responded."""

from __future__ import annotations

import time

# A probe, its time-out included, takes less. When one took longer, this process was suspended.
_LONGEST_PROBE = 7.0


class HangTimer:
    """Counts only time in which this process ran too.

    While the machine sleeps nothing can respond, and afterwards everything responds again.
    """

    def __init__(self, longest_probe: float = _LONGEST_PROBE) -> None:
        self._longest_probe = longest_probe
        self._seconds = 0.0
        self._since: float | None = None

    def reset(self) -> None:
        """Begin anew: the part has responded."""
        self._seconds, self._since = 0.0, None

    def add_failure(self) -> float:
        """Note a probe without response; return the seconds since the first of the row."""
        now = time.monotonic()
        if self._since is not None:
            self._seconds += min(now - self._since, self._longest_probe)
        self._since = now
        return self._seconds
