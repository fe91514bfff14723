"""Entries of the audit log, and what a verification of it finds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from auditchain.anchors import SHORT_BYTES
from auditchain.chain import NO_DIGEST

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta

    from auditchain.anchors import Anchor


@dataclass(frozen=True, slots=True)
class AuditLog:
    """A row of the table `audit_logs`; `digest` chains it to the one before."""

    sequence: int
    user_id: str
    action: str
    resource_type: str
    resource_id: str
    details: Mapping[str, object] | str | None
    """The text that the digest covers where it was asked for."""
    database_role: str
    create_time: datetime
    digest: str


@dataclass(frozen=True, slots=True)
class ChainLink:
    """The place and the digest of an entry; 0 and 64 zeros before the first."""

    sequence: int
    digest: str


START = ChainLink(0, NO_DIGEST)


class FaultKind(StrEnum):
    """What is wrong at a place of a log."""

    DIGEST = "digest"
    """The digest is not that of the content and of the entry before."""
    SEQUENCE = "sequence"
    """An entry is missing, or one is there that has no place."""
    HEAD = "head"
    """The log does not end where its head says."""
    KNOWN_DIGEST = "known_digest"
    """The chain is whole, and another than the one whose digest was noted before."""
    ANCHOR = "anchor"
    """The entry has another digest than the one that was anchored."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A place at which a log is not as it was written."""

    sequence: int
    kind: FaultKind


@dataclass(frozen=True, slots=True)
class SignedAnchor:
    """The signed document of an anchor, and what it says."""

    database: str
    sequence: int
    """Up to which entry it was stored to go."""
    anchor: Anchor | None
    """None if it is not genuine, or about another log."""
    document: bytes


@dataclass(frozen=True, slots=True)
class VerifiedPart:
    """A part of a log, computed anew; `end` is its last entry, if nothing is wrong in it."""

    count: int
    end: ChainLink
    fault: Fault | None
    head: ChainLink | None
    """Where the log ended at that moment; None if its head is gone."""
    short_digests: bytes
    """The first 8 bytes of each entry's digest, in order."""

    def anchor_fault(self, start: ChainLink, anchor: Anchor) -> Fault | None:
        """Return the first entry of the part whose digest is not the anchored one.

        `start` is the entry before the part.
        """
        for sequence, expected in anchor.entries():
            place = (sequence - start.sequence - 1) * SHORT_BYTES
            if 0 <= place < len(self.short_digests):
                found = self.short_digests[place : place + SHORT_BYTES]
                if found != expected:
                    return Fault(sequence, FaultKind.ANCHOR)
        return None


@dataclass(frozen=True, slots=True)
class Verification:
    """What a verification of a log has found."""

    count: int
    head: ChainLink
    fault: Fault | None
    unchained: int
    unchained_age: timedelta | None
    anchored_sequence: int
    """Up to which entry the log was compared with anchors."""
    is_protected: bool
    """Whether only a superuser could write the tables of the log."""


def first_fault(*faults: Fault | None) -> Fault | None:
    """Return the one at the first place."""
    found = [fault for fault in faults if fault is not None]
    return min(found, key=lambda fault: fault.sequence) if found else None


def fault_at_end(part: VerifiedPart) -> Fault | None:
    """Compare the end of the last part of a log with its head."""
    if part.head is None:
        return Fault(part.end.sequence, FaultKind.HEAD)
    if part.head.sequence > part.end.sequence:
        return Fault(part.end.sequence + 1, FaultKind.SEQUENCE)
    if part.head != part.end:
        return Fault(part.head.sequence, FaultKind.HEAD)
    return None
