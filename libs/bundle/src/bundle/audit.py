"""The audit log in a bundle: the chain is computed anew from the rows of the table's file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from auditchain.chain import NO_DIGEST, Entry
from bundle.errors import BundleInvalid, Fault
from bundle.names import table_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bundle.manifest import AuditHead

TABLE = "audit_logs"

_COLUMNS = (
    "sequence",
    "user_id",
    "action",
    "resource_type",
    "resource_id",
    "details",
    "database_role",
    "created_at",
    "digest",
)
# Rows are ordered by id, entries by sequence: they differ by as many as writers were at work.
_OUT_OF_ORDER = 100_000
_ROW_LIMIT = 1 << 20
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_ESCAPES = {
    b"b": b"\b",
    b"f": b"\f",
    b"n": b"\n",
    b"r": b"\r",
    b"t": b"\t",
    b"v": b"\v",
    b"\\": b"\\",
}
_TIME = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)(?:\.(\d{1,6}))?\+00")


class ChainCheck:
    """Follows the chain while the rows of `audit_logs` pass."""

    def __init__(self, columns: Sequence[str]) -> None:
        missing = set(_COLUMNS).difference(columns)
        if missing:
            raise _broken(f"the table has no {', '.join(sorted(missing))}")
        self._width = len(columns)
        self._places = [columns.index(name) for name in _COLUMNS]
        self._rest = b""
        self._sequence = 0
        self._digest: str = NO_DIGEST
        self._waiting: dict[int, list[str | None]] = {}

    def add(self, data: bytes) -> None:
        """Take the next bytes of the file. Raises BundleInvalid."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _ROW_LIMIT:
            raise _broken("a row is too long")
        for line in lines:
            self._add_row(line)

    def finish(self, head: AuditHead) -> None:
        """Compare the end of the chain with what the manifest says. Raises BundleInvalid."""
        if self._rest or self._waiting:
            raise _broken(f"entry {self._sequence + 1} is missing")
        if (self._sequence, self._digest) != (head.sequence, head.digest):
            raise _broken(f"it ends with entry {self._sequence}, not with {head.sequence}")

    def _add_row(self, line: bytes) -> None:
        fields = line.split(b"\t")
        if len(fields) != self._width:
            raise _broken("a row has not as many values as the table has columns")
        entry = [_text(fields[place]) for place in self._places]
        sequence = entry[0] or ""
        if not sequence.isdecimal() or int(sequence) in self._waiting:
            raise _broken(f"{sequence[:20]!r} is no sequence, or is there twice")
        self._waiting[int(sequence)] = entry
        if len(self._waiting) > _OUT_OF_ORDER:
            raise _broken(f"entry {self._sequence + 1} is missing")
        while (following := self._waiting.pop(self._sequence + 1, None)) is not None:
            self._follow(following)

    def _follow(self, entry: Sequence[str | None]) -> None:
        _, user_id, action, resource_type, resource_id, details, role, created, digest = entry
        found = Entry(
            self._sequence + 1,
            user_id or "",
            action or "",
            resource_type or "",
            resource_id or "",
            details,
            role or "",
            _iso(created or ""),
            digest or "",
        )
        if found.digest != found.computed_digest(self._digest):
            raise _broken(f"entry {found.sequence} is not chained to the one before")
        self._sequence, self._digest = found.sequence, found.digest


def _text(field: bytes) -> str | None:
    """Return a value of COPY's text format. Raises BundleInvalid."""
    if field == b"\\N":
        return None
    try:
        return _ESCAPED.sub(lambda found: _ESCAPES[found[1]], field).decode()
    except (KeyError, UnicodeDecodeError):
        raise _broken("a value is not text as COPY writes it") from None


def _iso(created: str) -> str:
    found = _TIME.fullmatch(created)
    if found is None:
        raise _broken(f"{created[:40]!r} is no time of an entry")
    return f"{found[1]}T{found[2]}.{(found[3] or '').ljust(6, '0')}Z"


def _broken(problem: str) -> BundleInvalid:
    return BundleInvalid(Fault.AUDIT, table_file(TABLE), problem)
