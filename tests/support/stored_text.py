"""Finds texts in the files of servers that run."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

_PASSES = 20
_BLOCK_BYTES = 1 << 20


def files_with(folders: Iterable[Path], *texts: str) -> list[list[str]]:
    """Return for each text the files below folders that hold it.

    All are read at a time at which none has gone.
    """
    known, words = [*folders], [text.encode() for text in texts]
    buffer = bytearray(_BLOCK_BYTES)  # one for all files: gigabytes are read
    for _ in range(_PASSES):
        try:
            files = {path for folder in known for path in folder.rglob("*") if path.is_file()}
            held = [(str(path), _words_in(path, words, buffer)) for path in sorted(files)]
        except FileNotFoundError:  # it may be there under another name now
            continue
        return [[path for path, found in held if word in found] for word in words]
    raise AssertionError("files come and go all the time")


def _words_in(path: Path, words: Sequence[bytes], buffer: bytearray) -> set[bytes]:
    """Return which of the words a file holds, reading it block by block."""
    overlap = max(map(len, words)) - 1  # a word may lie in two blocks
    found: set[bytes] = set()
    kept = 0
    with path.open("rb", buffering=0) as file:
        while size := file.readinto(memoryview(buffer)[kept:]):
            end = kept + size
            found |= {word for word in words if buffer.find(word, 0, end) >= 0}
            kept = min(overlap, end)
            buffer[:kept] = buffer[end - kept : end]
    return found
