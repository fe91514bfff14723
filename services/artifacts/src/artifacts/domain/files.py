"""Files: as they are to be, as they have been sent, and as they are committed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, Union

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from artifacts.domain.keys import Key

CHUNK_BYTES = 1 << 20
"""The piece of a file that has a digest of its own, so that a range can be verified alone."""

DIGEST_BYTES = 32

JsonValue: TypeAlias = Union[
    "Mapping[str, JsonValue]", "Sequence[JsonValue]", str, int, float, bool, None
]
JsonObject: TypeAlias = "Mapping[str, JsonValue]"


@dataclass(frozen=True, slots=True)
class Draft:
    """Where a file is to lie, and what its writer says of it."""

    key: Key
    item: int
    visit: int
    file_type: str
    summary: str
    """Empty when the service is to write one."""
    metrics: Mapping[str, int]
    fractional_metrics: Mapping[str, float]
    """Those that are no whole numbers of 64 bits, as they are."""
    metadata: JsonObject


@dataclass(frozen=True, slots=True)
class Item:
    """A small file as it was sent, bytes and all."""

    draft: Draft
    body: bytes
    digest: str
    """What the bytes must have; empty to take them as they come."""


@dataclass(frozen=True, slots=True)
class Content:
    """What the bytes of a file are known by."""

    digest: str
    size_bytes: int
    chunk_digests: bytes
    """The sha256 of each MiB, one behind the other; empty for a file of at most one."""

    @classmethod
    def of(cls, body: bytes) -> Content:
        hashing = ContentHash()
        for start in range(0, len(body), CHUNK_BYTES):
            hashing.add(body[start : start + CHUNK_BYTES])
        return hashing.content()


class ContentHash:
    """Hashes a file chunk by chunk: whole MiBs, but for the last."""

    def __init__(self) -> None:
        self._whole = hashlib.sha256()
        self._chunks: list[bytes] = []
        self._size = 0

    def add(self, chunk: bytes) -> None:
        self._whole.update(chunk)
        self._size += len(chunk)
        # The first chunk of a file of one chunk has the file's digest: hash it only if more come.
        if self._size > CHUNK_BYTES:
            self._chunks.append(hashlib.sha256(chunk).digest())
        elif self._size == CHUNK_BYTES:
            self._chunks.append(self._whole.digest())

    def content(self) -> Content:
        chunks = b"".join(self._chunks) if self._size > CHUNK_BYTES else b""
        return Content(self._whole.hexdigest(), self._size, chunks)


@dataclass(frozen=True, slots=True)
class Source:
    """What a file was copied from."""

    path: str
    digest: str
    json_pointer: str


@dataclass(frozen=True, slots=True)
class Submission:
    """A file whose bytes are known: ready to be committed once they are in the store."""

    draft: Draft
    content: Content
    source: Source | None = None
    upload_id: str | None = None

    @property
    def path(self) -> str:
        return self.draft.key.path


@dataclass(frozen=True, slots=True)
class Artifact:
    """A committed file. It never changes."""

    artifact_id: int
    draft: Draft
    digest: str
    size_bytes: int
    create_time: datetime

    @property
    def key(self) -> Key:
        return self.draft.key

    @property
    def path(self) -> str:
        return self.draft.key.path


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that has been announced and has not come."""

    upload_id: str
    draft: Draft
    digest: str
    size_bytes: int
    expire_time: datetime


@dataclass(frozen=True, slots=True)
class Pointer:
    """A committed file, or one JSON value inside it, as a caller names it."""

    key: Key
    digest: str
    json_pointer: str
