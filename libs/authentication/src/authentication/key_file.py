"""The file of public keys: of workloads, and of an issuer that has no address."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from authentication.keys import KeySet, read_keys
from authentication.watched_file import WatchedFile

if TYPE_CHECKING:
    from pathlib import Path

_log = logging.getLogger(__name__)


def watch_keys(path: Path) -> WatchedFile[KeySet]:
    """Return the keys of a JWKS file. Raises StartRefused when it holds none."""
    return WatchedFile(path, _read, "public keys (JWKS)", _log_failure)


def _read(content: bytes) -> KeySet:
    keys = read_keys(content)
    if not keys:
        raise ValueError("none of its keys verifies signatures")
    return keys


def _log_failure(why: str) -> None:
    _log.error(
        "the file of public keys cannot be read",
        extra={"event": "public_keys.read_failed", "why": why},
    )
