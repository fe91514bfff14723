"""A limit on how many calls of one key, such as a tenant, are in progress at once."""

from __future__ import annotations


class ConcurrencyLimit:
    """Counts what each key has in progress, and refuses more than `most`; nobody waits."""

    def __init__(self, most: int) -> None:
        self.begun = 0
        """How many have been counted, whether they are in progress or not."""
        self._most = most
        self._in_use: dict[str, int] = {}

    def acquire(self, key: str) -> bool:
        """Count one more for a key, until `release`; False, and not counted, at the limit."""
        in_use = self._in_use.get(key, 0)
        if in_use >= self._most:
            return False
        self._in_use[key] = in_use + 1
        self.begun += 1
        return True

    def release(self, key: str) -> None:
        """Count one less. Raises KeyError for a key that has none."""
        left = self._in_use[key] - 1
        if left:
            self._in_use[key] = left
        else:
            del self._in_use[key]

    def __bool__(self) -> bool:
        """Return whether any key has something in progress."""
        return bool(self._in_use)

    def in_use(self, key: str) -> int:
        """Return how many a key has in progress."""
        return self._in_use.get(key, 0)
