"""Files in the artifacts service, as this one needs them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

INPUT_LIMIT = 32 << 20
"""How many bytes a request's input may have, what is given and what is pointed to together."""


@dataclass(frozen=True, slots=True)
class File:
    """A file by what it must contain."""

    path: str
    digest: str


@dataclass(frozen=True, slots=True)
class ReplyFile:
    """A reply's file, and which attempt of which request it came from."""

    path: str
    digest: str
    summary: str
    request_digest: str
    attempt: int
    provider_request_id: str


@dataclass(frozen=True, slots=True)
class ReplyDraft:
    """A reply about to be stored."""

    body: bytes
    digest: str
    summary: str
    metrics: Mapping[str, int]
    request_digest: str
    attempt: int
    provider_request_id: str
