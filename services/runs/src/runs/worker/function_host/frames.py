"""What the worker and a process of functions say to each other, over a pair of sockets.

A frame is a fixed head (kind, call, request, size of the fields, size of the body), the fields as
a JSON object, and a body of bytes. Nothing is ever pickled.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntEnum, unique
from typing import TYPE_CHECKING, Any

from jsonvalues import NotJson, compact, parse_object

if TYPE_CHECKING:
    from asyncio import StreamReader

_HEAD = struct.Struct(">BIIII")
FIELDS_FROM_CHILD = 64 << 10
FIELDS_FROM_WORKER = 64 << 20  # the outputs of mapped steps are thousands of pointers
BODY_LIMIT = 4 << 20


class FrameInvalid(Exception):
    """What came is no frame, or is too large."""


@unique
class Kind(IntEnum):
    """What a frame says. Of the worker: CALL to REFUSED; of the process: the others."""

    CALL = 1
    """Do a function: `entry`, `work`, `arguments`, `outputs`, `element`, `metrics`."""
    CANCEL = 2
    PING = 3
    DATA = 4
    """The answer to a request: a body, or `file`, or `end` of a stream."""
    REFUSED = 5
    """A request failed: `reason` and `message`."""

    PONG = 11
    """The process listens; the first one says that it is there."""
    READ = 12
    """Wants a JSON value: `pointer`."""
    NEXT = 13
    """Wants the next piece of a stream: `stream`, and `pointer` of its file."""
    CLOSE = 14
    """Wants no more of a `stream`. There is no answer."""
    WRITE = 15
    """Wants a file committed: `name`, `file_type`, and the body."""
    RETURNED = 16
    """A call's end: `metrics`, and the output as body. So are the next ones."""
    FAILED = 17
    """A failure in words that may be told: `reason`, `message`, `final`; by which `request`."""
    RAISED = 18
    """An error that is not ours: the body holds `type`, `message` and `traceback` as JSON;
    `loading` when the function could not even be imported."""
    NO_MEMORY = 19
    CANCELLED = 20


ENDS = frozenset({Kind.RETURNED, Kind.FAILED, Kind.RAISED, Kind.NO_MEMORY, Kind.CANCELLED})


@dataclass(frozen=True, slots=True)
class Frame:
    kind: Kind
    call: int = 0
    request: int = 0
    fields: dict[str, Any] = field(default_factory=dict[str, Any])
    body: bytes = b""

    def packed(self) -> bytes:
        told = compact(self.fields).encode(errors="replace") if self.fields else b""
        head = _HEAD.pack(self.kind, self.call, self.request, len(told), len(self.body))
        return head + told + self.body


async def read_frame(reader: StreamReader, fields_limit: int) -> Frame:
    """Read the next frame. Raises FrameInvalid, and IncompleteReadError at the end."""
    kind, call, request, told, size = _HEAD.unpack(await reader.readexactly(_HEAD.size))
    if told > fields_limit or size > BODY_LIMIT:
        raise FrameInvalid(f"a frame of {told} and {size} bytes")
    try:
        fields: dict[str, Any] = parse_object(await reader.readexactly(told)) if told else {}
        known = Kind(kind)
    except (NotJson, ValueError) as error:
        raise FrameInvalid("a frame is not right") from error
    return Frame(known, call, request, fields, await reader.readexactly(size))
