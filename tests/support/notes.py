"""Files in which functions note what they do: a word a line, and the process that they are in."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

Notes: TypeAlias = list[tuple[str, int]]


def read_notes(path: Path) -> Notes:
    """Return what has been noted; nothing when there is no file yet."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [(word, int(pid)) for word, pid in map(str.split, lines)]


async def wait_for_notes(path: Path, count: int, seconds: float = 60.0) -> Notes:
    """Return what has been noted, once it is so many lines."""

    async def noted() -> Notes | None:
        notes = read_notes(path)
        return notes if len(notes) >= count else None

    return await wait_until(noted, seconds=seconds)
