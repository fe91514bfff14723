"""`objects.jsonl`: one line for each object, ordered by digest and then by key."""

from __future__ import annotations

import hashlib
import json
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from bundle.errors import BundleInvalid, Fault
from bundle.names import DIGEST, INDEX, KEY, KEY_LIMIT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol

    class Lines(Protocol):
        """A file that is read line by line."""

        def readline(self, most: int, /) -> bytes: ...


_LINE_LIMIT = 2_048
_FIELDS = ("digest", "key", "size_bytes")
_MOST_BYTES = 1 << 50


@dataclass(frozen=True, slots=True)
class ObjectEntry:
    """A file of a run: where it lies below its tenant's folder, and its bytes' sha256 and size."""

    key: str
    """`{run}/{step}/{name}`."""
    digest: str
    size_bytes: int

    def line(self) -> bytes:
        """Return its line."""
        content = {"digest": self.digest, "key": self.key, "size_bytes": self.size_bytes}
        return json.dumps(content, separators=(",", ":")).encode() + b"\n"


def read(file: Lines) -> Iterator[ObjectEntry]:
    """Yield the entries. Raises BundleInvalid for a line of another form, or out of order."""
    before = ("", "")
    while line := file.readline(_LINE_LIMIT):
        entry = _parse(line)
        if (entry.digest, entry.key) <= before:
            raise BundleInvalid(Fault.FORMAT, INDEX, "its lines are not in order, or one is twice")
        before = (entry.digest, entry.key)
        yield entry


class KeyCheck:
    """Finds a key that is there twice, by eight bytes of each key's sha256."""

    def __init__(self) -> None:
        self._hashes = [
            array("Q") for _ in range(256)
        ]  # by their first byte: one at a time is read

    def add(self, key: str) -> None:
        """Take the next key."""
        digest = hashlib.sha256(key.encode()).digest()
        self._hashes[digest[0]].frombytes(digest[:8])

    def finish(self) -> None:
        """Raise BundleInvalid if two keys are the same."""
        if any(len(set(hashes)) != len(hashes) for hashes in self._hashes):
            raise BundleInvalid(Fault.EXTRA, INDEX, "it names a key twice, with different bytes")


def _parse(line: bytes) -> ObjectEntry:
    try:
        content: Any = json.loads(line)
    except (ValueError, RecursionError):
        raise BundleInvalid(Fault.FORMAT, INDEX, "a line is no JSON, or too long") from None
    if not isinstance(content, dict) or tuple(cast("dict[str, Any]", content)) != _FIELDS:
        raise BundleInvalid(Fault.FORMAT, INDEX, f"a line has not the fields {', '.join(_FIELDS)}")
    digest, key, size = cast("dict[str, Any]", content).values()
    if not isinstance(key, str) or len(key) > KEY_LIMIT or not KEY.fullmatch(key):
        raise BundleInvalid(Fault.NAME, INDEX, f"{str(key)[:80]!r} is no key of an object")
    if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
        raise BundleInvalid(Fault.FORMAT, INDEX, f"{key} has no sha256")
    if type(size) is not int or not 0 <= size <= _MOST_BYTES:
        raise BundleInvalid(Fault.FORMAT, INDEX, f"{key} has no size")
    entry = ObjectEntry(key, digest, size)
    if entry.line() != line:
        raise BundleInvalid(Fault.FORMAT, INDEX, f"the line of {key} is not written canonically")
    return entry
