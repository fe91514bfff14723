"""Names that are near to one that nobody knows."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_COMPARED = 24  # characters; the work grows with their square, and the event loop waits for it


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean NAME?` if the beginning of a known name is near, else nothing."""
    by_beginning = {other[:_COMPARED]: other for other in known}
    near = difflib.get_close_matches(name[:_COMPARED], by_beginning, n=1)
    return f"; did you mean {by_beginning[near[0]]}?" if near else ""
