"""Files of the artifacts service, as the gateway needs them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

INPUT_LIMIT = 32 << 20
"""The most bytes that a request's input may have, inline text and files together."""


@dataclass(frozen=True, slots=True)
class FileRef:
    """A file, by its path and the sha256 of its content."""

    path: str
    digest: str


@dataclass(frozen=True, slots=True)
class ReplyFile:
    """A stored reply's file, and the request and attempt that it came from."""

    path: str
    digest: str
    summary: str
    request_digest: str
    attempt: int
    provider_request_id: str


@dataclass(frozen=True, slots=True)
class ReplyDraft:
    """A reply that is ready to be stored."""

    body: bytes
    digest: str
    summary: str
    metrics: Mapping[str, int]
    request_digest: str
    attempt: int
    provider_request_id: str
