"""The providers' API keys, from a file that may change while the process runs."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

from jsonvalues import NotJson, parse_object
from llm_gateway.errors import ProviderKeyMissing, ProviderKeyUnusable
from servicekit.errors import StartRefused

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_USABLE = re.compile(r"[!-~]+")  # what a header can carry
_log = logging.getLogger(__name__)


class KeysFileMalformed(StartRefused):
    """The file is not one JSON object of strings; the message quotes nothing of it."""


class ProviderKeys:
    """API keys by provider. A changed file is read again; an unreadable one changes nothing."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._stamp = _stamp(file)
        self._keys = read_keys(file)

    def of(self, provider_id: str) -> str:
        """Return a provider's key. Raises ProviderKeyMissing, ProviderKeyUnusable."""
        self._refresh()
        key = self._keys.get(provider_id, "")
        if not key:
            message = f"no key is configured for {provider_id}"
            raise ProviderKeyMissing(message, provider_id=provider_id)
        if not _USABLE.fullmatch(key):
            raise ProviderKeyUnusable(provider_id)
        return key

    def _refresh(self) -> None:
        try:
            stamp = _stamp(self._file)
            if stamp != self._stamp:
                self._stamp = stamp
                self._keys = read_keys(self._file)
                _log.info(
                    "the providers' keys were read again",
                    extra={"event": "provider_keys.read", "count": len(self._keys)},
                )
        except (OSError, KeysFileMalformed) as error:
            _log.error(
                "the providers' keys cannot be read",
                extra={"event": "provider_keys.read_failed", "why": type(error).__name__},
            )


def read_keys(file: Path) -> Mapping[str, str]:
    """Read the keys by provider. Raises OSError, KeysFileMalformed."""
    try:
        found = parse_object(file.read_bytes())
    except NotJson:
        raise KeysFileMalformed(f"{file}: not a JSON object") from None
    # A key that was mounted as a file of its own often ends in a line feed.
    keys = {name: key.strip() for name, key in found.items() if isinstance(key, str)}
    if len(keys) < len(found):
        raise KeysFileMalformed(f"{file}: a key is not a string")
    return keys


def _stamp(file: Path) -> tuple[int, int, int]:
    stat = file.stat()
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
