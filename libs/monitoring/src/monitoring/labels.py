"""Values of a label, of which there may be so many and no more."""

from __future__ import annotations

OTHER = "other"
"""Stands for all values beyond the bound."""


class BoundedLabel:
    """Passes the first `limit` values that a process sees, and OTHER in place of all others.

    Each value of a label is a series of its own in Prometheus, for as long as the process lives.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._known: set[str] = set()

    def of(self, value: str) -> str:
        """Return the value for the label."""
        if value in self._known:
            return value
        if len(self._known) >= self._limit:
            return OTHER
        self._known.add(value)
        return value
