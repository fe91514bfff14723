"""Small files that this process has committed lately, so that nobody need read them at once."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

FILE_BYTES = 64 << 10
"""The largest file that is kept."""

_BYTES = 32 << 20
_ENTRY_BYTES = 512
"""What an entry takes beside its file."""


class RecentFiles:
    """Files by tenant and sha256; those that were used last are kept, 32 MiB in all."""

    def __init__(self) -> None:
        self._files: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._bytes = 0

    def add(self, tenant_id: str, digest: str, data: bytes) -> None:
        """Keep a file that was committed, if it is small and these are the bytes of that digest."""
        if len(data) > FILE_BYTES or hashlib.sha256(data).hexdigest() != digest:
            return
        key = tenant_id, digest
        if key not in self._files:
            self._bytes += len(data) + _ENTRY_BYTES
        self._files[key] = data
        self._files.move_to_end(key)
        while self._bytes > _BYTES:
            _, dropped = self._files.popitem(last=False)
            self._bytes -= len(dropped) + _ENTRY_BYTES

    def find(self, tenant_id: str, digest: str) -> bytes | None:
        """Return the bytes of a file; None if they are not known."""
        found = self._files.get((tenant_id, digest))
        if found is not None:
            self._files.move_to_end((tenant_id, digest))
        return found
