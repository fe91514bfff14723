"""How many calls of one holder may be inside at once."""

from __future__ import annotations


class Places:
    def __init__(self, most: int) -> None:
        self._most = most
        self._taken: dict[str, int] = {}

    def enter(self, holder: str) -> bool:
        """Take a place, to be given back by `leave`; False when all of the holder's are taken."""
        taken = self._taken.get(holder, 0)
        if taken >= self._most:
            return False
        self._taken[holder] = taken + 1
        return True

    def leave(self, holder: str) -> None:
        left = self._taken[holder] - 1
        if left:
            self._taken[holder] = left
        else:
            del self._taken[holder]

    def taken(self, holder: str) -> int:
        """Return how many places a holder has taken."""
        return self._taken.get(holder, 0)
