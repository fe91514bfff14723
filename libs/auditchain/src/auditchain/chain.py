"""The chain: each entry's digest is over its content and the digest of the entry before."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from auditchain.anchors import SHORT_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from auditchain.anchors import Anchor

NO_DIGEST = "0" * 64
"""What the first entry is chained to."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the table `audit_logs`, as far as its digest covers it."""

    sequence: int
    user_id: str
    action: str
    resource_type: str
    resource_id: str
    details: str | None
    """The text of the column as PostgreSQL writes it."""
    database_role: str
    created_at: str
    """In UTC with microseconds, such as `2026-11-23T18:24:00.123456Z`."""
    digest: str

    def computed_digest(self, previous: str) -> str:
        """Return the sha256 that the entry must have after one with the digest `previous`."""
        content = [
            previous,
            self.sequence,
            self.user_id,
            self.action,
            self.resource_type,
            self.resource_id,
            self.details,
            self.database_role,
            self.created_at,
        ]
        return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Head:
    """Where a log ends: the place and the digest of its last entry; 0 and zeros when empty."""

    sequence: int
    digest: str


class FaultKind(StrEnum):
    """What is wrong at a place of a log."""

    DIGEST = "digest"
    """The digest is not that of the content and of the entry before."""
    SEQUENCE = "sequence"
    """An entry is missing, or one is there that has no place."""
    HEAD = "head"
    """The log does not end where its head says."""
    ANCHOR = "anchor"
    """The entry has another digest than the one that was anchored."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A place at which a log is not as it was written."""

    sequence: int
    kind: FaultKind


class ChainVerifier:
    """Computes a log anew, entry by entry, and compares it with its anchors.

    `fault` is the first place at which it is not as it was written; what is added after it is not
    looked at any more.
    """

    def __init__(self, anchors: Iterable[Anchor] = ()) -> None:
        self._anchored: dict[int, bytes] = {}
        self._heads: dict[int, str] = {}
        self._contradicted: set[int] = set()
        for anchor in anchors:
            self._take(anchor)
        self.fault: Fault | None = None
        self.end = Head(0, NO_DIGEST)
        self.count = 0

    def add(self, entry: Entry) -> None:
        """Take the next entry, in the order of their sequences."""
        if self.fault is not None:
            return
        place = self.end.sequence + 1
        self.count += 1
        if entry.sequence != place:
            self.fault = Fault(min(entry.sequence, place), FaultKind.SEQUENCE)
        elif not self._is_anchored(entry):
            self.fault = Fault(place, FaultKind.ANCHOR)
        elif entry.digest != entry.computed_digest(self.end.digest):
            self.fault = Fault(place, FaultKind.DIGEST)
        else:
            self.end = Head(place, entry.digest)

    def finish(self, head: Head) -> Fault | None:
        """Compare the end with the head and with the anchors; return the first fault."""
        if self.fault is None:
            last = max(head.sequence, *self._anchored, 0)
            if last > self.end.sequence:
                self.fault = Fault(self.end.sequence + 1, FaultKind.SEQUENCE)
            elif head != self.end:
                self.fault = Fault(head.sequence, FaultKind.HEAD)
        return self.fault

    def _take(self, anchor: Anchor) -> None:
        for sequence, short in anchor.entries():
            if self._anchored.setdefault(sequence, short) != short:
                self._contradicted.add(sequence)
        if self._heads.setdefault(anchor.sequence, anchor.digest) != anchor.digest:
            self._contradicted.add(anchor.sequence)

    def _is_anchored(self, entry: Entry) -> bool:
        """Return whether an entry agrees with all anchors of it; one that none has does."""
        if entry.sequence in self._contradicted:
            return False
        expected = self._anchored.get(entry.sequence)
        if expected is not None and expected != bytes.fromhex(entry.digest)[:SHORT_BYTES]:
            return False
        return self._heads.get(entry.sequence, entry.digest) == entry.digest
