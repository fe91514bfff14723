"""Anchors: what a log's digests were at a time, kept where its database cannot be changed from."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DOCUMENT_TYPE = "audit-anchor"
DIGEST_LENGTH = 64
SHORT_BYTES = 8
"""How much of each entry's digest an anchor keeps: enough to name the first that was changed."""


class AnchorMalformed(ValueError):
    """A document is no anchor."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """The entries after `since` up to `sequence` of the log of one database, and their digests."""

    tenant_id: str
    """Empty for the management database."""
    database: str
    since: int
    sequence: int
    digest: str
    """The whole digest of the last entry; it proves all entries before it."""
    short_digests: bytes
    """The first 8 bytes of each entry's digest, in order."""
    created_at: str

    def entries(self) -> Iterator[tuple[int, bytes]]:
        """Yield the place of each entry, and the first 8 bytes of its digest."""
        for number in range(self.sequence - self.since):
            start = number * SHORT_BYTES
            yield self.since + 1 + number, self.short_digests[start : start + SHORT_BYTES]

    def document(self) -> dict[str, str | int]:
        """Return the anchor as a document that can be signed."""
        return {
            "type": DOCUMENT_TYPE,
            "tenant_id": self.tenant_id,
            "database": self.database,
            "since": self.since,
            "sequence": self.sequence,
            "digest": self.digest,
            "short_digests": base64.b64encode(self.short_digests).decode(),
            "created_at": self.created_at,
        }

    @classmethod
    def of_head(
        cls, tenant_id: str, database: str, sequence: int, digest: str, created_at: str
    ) -> Anchor:
        """Return the anchor of one entry, by which a log ended. Raises AnchorMalformed."""
        try:
            short = bytes.fromhex(digest)[:SHORT_BYTES]
        except ValueError:
            short = b""
        if len(digest) != DIGEST_LENGTH or len(short) != SHORT_BYTES or sequence < 1:
            raise AnchorMalformed("it names no entry of a log")
        return cls(tenant_id, database, sequence - 1, sequence, digest, short, created_at)

    @classmethod
    def of_document(cls, document: Mapping[str, object]) -> Anchor:
        """Return the anchor that a document holds. Raises AnchorMalformed."""
        try:
            anchor = cls(
                tenant_id=_text(document["tenant_id"]),
                database=_text(document["database"]),
                since=_number(document["since"]),
                sequence=_number(document["sequence"]),
                digest=_text(document["digest"]),
                short_digests=base64.b64decode(_text(document["short_digests"]), validate=True),
                created_at=_text(document["created_at"]),
            )
            last = bytes.fromhex(anchor.digest)[:SHORT_BYTES]
        except (KeyError, TypeError, ValueError, binascii.Error) as error:
            raise AnchorMalformed(f"the document is no anchor: {type(error).__name__}") from None
        count = anchor.sequence - anchor.since
        if count < 1 or len(anchor.short_digests) != count * SHORT_BYTES:
            raise AnchorMalformed("the anchor does not have a digest for each of its entries")
        if anchor.short_digests[-SHORT_BYTES:] != last:
            raise AnchorMalformed("the anchor's digests do not agree")
        return anchor


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value


def _number(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError("no number")
    return value
