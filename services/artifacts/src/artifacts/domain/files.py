"""Files: drafts, bytes with their digests, and committed artifacts."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, Union

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from artifacts.domain.keys import ArtifactKey

CHUNK_BYTES = 1 << 20
"""The size of the pieces that have a digest of their own, by which ranges are verified."""

DIGEST_BYTES = 32

JsonValue: TypeAlias = Union[
    "Mapping[str, JsonValue]", "Sequence[JsonValue]", str, int, float, bool, None
]
JsonObject: TypeAlias = "Mapping[str, JsonValue]"


@dataclass(frozen=True, slots=True)
class Draft:
    """The key of a file that is to be written, and its writer's description."""

    key: ArtifactKey
    item: int
    visit: int
    file_type: str
    summary: str
    """Empty to have the service count one."""
    metrics: Mapping[str, int]
    fractional_metrics: Mapping[str, float]
    """The metrics that do not fit into an integer of 64 bits."""
    metadata: JsonObject


@dataclass(frozen=True, slots=True)
class WriteTarget:
    """A path to write, and the sha256 of the bytes to write there."""

    key: ArtifactKey
    digest: str


@dataclass(frozen=True, slots=True)
class BatchItem:
    """A small file of BatchPutArtifacts."""

    draft: Draft
    body: bytes
    digest: str
    """The sha256 that the bytes must have; empty for any."""


@dataclass(frozen=True, slots=True)
class FileCopy:
    """A committed file that is to be copied as it is, to another key."""

    source: ArtifactKey
    digest: str
    """The sha256 that the source must have."""
    target: ArtifactKey
    item: int
    visit: int


@dataclass(frozen=True, slots=True)
class ContentDigests:
    """The sha256 and the size of a file, and the sha256 of its chunks."""

    digest: str
    size_bytes: int
    chunk_digests: bytes
    """The concatenated sha256 of each MiB; empty for a file of at most one."""

    @classmethod
    def of(cls, body: bytes) -> ContentDigests:
        hashing = ContentHasher()
        for start in range(0, len(body), CHUNK_BYTES):
            hashing.add(body[start : start + CHUNK_BYTES])
        return hashing.content()


class ContentHasher:
    """Hashes a file chunk by chunk; each is 1 MiB, the last may be smaller."""

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

    def content(self) -> ContentDigests:
        chunks = b"".join(self._chunks) if self._size > CHUNK_BYTES else b""
        return ContentDigests(self._whole.hexdigest(), self._size, chunks)


@dataclass(frozen=True, slots=True)
class CopySource:
    """The file, or the JSON value in it, that a file was copied from."""

    path: str
    digest: str
    json_pointer: str


@dataclass(frozen=True, slots=True)
class Submission:
    """What `store.artifacts.commit` inserts for a file whose bytes are in the object store."""

    draft: Draft
    content: ContentDigests
    source: CopySource | None = None
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
    def key(self) -> ArtifactKey:
        return self.draft.key

    @property
    def path(self) -> str:
        return self.draft.key.path


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that is announced, and whose bytes have not arrived."""

    upload_id: str
    draft: Draft
    digest: str
    size_bytes: int
    expire_time: datetime


@dataclass(frozen=True, slots=True)
class ArtifactPointer:
    """A committed file, or one JSON value in it, as a caller names it."""

    key: ArtifactKey
    digest: str
    json_pointer: str
