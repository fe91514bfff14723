"""The file of an exported audit log: one JSON object a line.

The first line is the header, the last one says where the log ended; in between stand the entries in
order, then signed anchors. A file that was cut off has no last line.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, cast

from auditchain.chain import Entry, Head

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FORMAT = "nagaya-audit-log/1"
DIGEST_BYTES = 32


class ExportMalformed(ValueError):
    """The file is no exported audit log, or a part of one; the message names the line."""


@dataclass(frozen=True, slots=True)
class Header:
    """Whose log it is; `tenant_id` is empty for the management database's."""

    tenant_id: str
    database: str


@dataclass(frozen=True, slots=True)
class SignedAnchor:
    """The signed document of an anchor, as text."""

    document: str


def header_line(header: Header) -> str:
    return _line({"format": FORMAT, "header": asdict(header)})


def entry_line(entry: Entry) -> str:
    return _line({"entry": asdict(entry)})


def anchor_line(document: str) -> str:
    return _line({"anchor": document})


def end_line(head: Head) -> str:
    return _line({"head": asdict(head)})


def read(lines: Iterable[str]) -> Iterator[Header | Entry | SignedAnchor | Head]:
    """Yield what the lines hold, in their order. Raises ExportMalformed."""
    number, last = 0, None
    for number, line in enumerate(lines, start=1):
        if isinstance(last, Head):
            raise ExportMalformed(f"line {number}: something stands behind the end")
        try:
            last = _parse(json.loads(line))
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ExportMalformed(f"line {number} is none of an exported audit log") from None
        if isinstance(last, Header) != (number == 1):
            raise ExportMalformed(f"line {number}: the header is the first line, and no other")
        yield last
    if not isinstance(last, Head):
        raise ExportMalformed(f"the file ends after line {number}, before the end of the log")


def _parse(content: object) -> Header | Entry | SignedAnchor | Head:
    members = _members(content)
    if "header" in members:
        if members["format"] != FORMAT:
            raise ValueError("another format")
        header = _members(members["header"])
        return Header(_text(header["tenant_id"]), _text(header["database"]))
    if "anchor" in members:
        return SignedAnchor(_text(members["anchor"]))
    if "head" in members:
        head = _members(members["head"])
        return Head(_number(head["sequence"]), _digest(head["digest"]))
    return _entry(_members(members["entry"]))


def _entry(columns: dict[str, object]) -> Entry:
    details = columns["details"]
    return Entry(
        sequence=_number(columns["sequence"]),
        user_id=_text(columns["user_id"]),
        action=_text(columns["action"]),
        resource_type=_text(columns["resource_type"]),
        resource_id=_text(columns["resource_id"]),
        details=None if details is None else _text(details),
        database_role=_text(columns["database_role"]),
        created_at=_text(columns["created_at"]),
        digest=_digest(columns["digest"]),
    )


def _members(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise TypeError("no object")
    return cast("dict[str, object]", value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    value.encode()  # half a character is none
    return value


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError("no number")
    return value


def _digest(value: object) -> str:
    text = _text(value)
    if len(bytes.fromhex(text)) != DIGEST_BYTES:
        raise ValueError("no digest")
    return text


def _line(content: dict[str, object]) -> str:
    return json.dumps(content, ensure_ascii=False) + "\n"
