"""Files of the stack: private, replaced in one step."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_TAIL_BYTES = 32_768


def write_private(path: Path, text: str) -> None:
    """Replace a file in one step; only its owner can read it, at no moment anybody else."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def size(path: Path) -> int:
    """Return how many bytes a file has; 0 if there is none."""
    return path.stat().st_size if path.exists() else 0


def tail(path: Path, lines: int, since: int = 0) -> tuple[str, ...]:
    """Return the last lines of a file, of those after `since` bytes; none if there is no file."""
    if not path.exists():
        return ()
    with path.open("rb") as file:
        file.seek(max(since, size(path) - _TAIL_BYTES))
        text = file.read().decode(errors="replace")
    return tuple(text.splitlines()[-lines:])


def read_on(path: Path, position: int) -> tuple[tuple[str, ...], int]:
    """Return the whole lines after `position`, and the position after them."""
    if not path.exists():
        return (), 0
    if path.stat().st_size < position:  # begun anew
        position = 0
    with path.open("rb") as file:
        file.seek(position)
        fresh = file.read()
    whole = fresh[: fresh.rfind(b"\n") + 1]
    return tuple(whole.decode(errors="replace").splitlines()), position + len(whole)
