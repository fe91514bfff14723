"""The protocol between a worker and a process of functions, over a pair of connected sockets.

A frame is a fixed header (kind, call, request, size of the fields, size of the body), the fields as
a JSON object, and a body of bytes. Nothing is pickled.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntEnum, unique
from typing import TYPE_CHECKING, Any

from jsonvalues import NotJson, compact, parse_object
from nagaya_functions import FilePointer

if TYPE_CHECKING:
    from asyncio import StreamReader

_HEADER = struct.Struct(">BIIII")
MAX_FIELDS_FROM_CHILD = 64 << 10
MAX_FIELDS_FROM_WORKER = 64 << 20  # the outputs of mapped steps are thousands of pointers
_MAX_BODY = 4 << 20


class FrameInvalid(Exception):
    """The bytes that came are no frame, or the frame is too large."""


@unique
class FrameKind(IntEnum):
    """What a frame is. The worker sends CALL to REFUSED, the process the others."""

    CALL = 1
    """Call a function: `entry_point`, the fields of its FunctionContext, and `metrics`."""
    CANCEL = 2
    PING = 3
    DATA = 4
    """The response to a request: a body, or the pointer `file`, or `end` of a stream."""
    REFUSED = 5
    """A request failed: `reason` and `message`."""

    PONG = 11
    """The process responds. The first one says that it is ready."""
    READ = 12
    """Requests a JSON value: the pointer `file`."""
    READ_PIECE = 13
    """Requests the next piece of a stream: `stream`, and the pointer `file`."""
    CLOSE = 14
    """Closes a `stream`. There is no response."""
    WRITE = 15
    """Requests that a file is committed: `name`, `file_type`, and the body."""
    RETURNED = 16
    """The result of a call: `metrics`, and the output as body. The next ones are results too."""
    FAILED = 17
    """A StepError: `reason`, `message`, `retryable`; raised by which `request`, if by one."""
    RAISED = 18
    """Another exception: the body holds `type`, `message` and `traceback` as JSON; `loading` when
    the function could not be imported."""
    NO_MEMORY = 19
    CANCELLED = 20

    ASK_MODEL = 21
    """Requests a call of a node's model: its number `call_number`, and the prompt's `variables`."""
    LOADING = 22
    """The process imports something, and does nothing else until LOADED."""
    LOADED = 23


RESULTS = frozenset(
    {
        FrameKind.RETURNED,
        FrameKind.FAILED,
        FrameKind.RAISED,
        FrameKind.NO_MEMORY,
        FrameKind.CANCELLED,
    }
)


@dataclass(frozen=True, slots=True)
class Frame:
    """One message."""

    kind: FrameKind
    call: int = 0
    request: int = 0
    fields: dict[str, Any] = field(default_factory=dict[str, Any])
    body: bytes = b""

    def encode(self) -> bytes:
        fields = compact(self.fields).encode(errors="replace") if self.fields else b""
        header = _HEADER.pack(self.kind, self.call, self.request, len(fields), len(self.body))
        return header + fields + self.body


async def read_frame(reader: StreamReader, max_fields: int) -> Frame:
    """Read the next frame. Raises FrameInvalid, and IncompleteReadError at the end."""
    header = await reader.readexactly(_HEADER.size)
    kind, call, request, fields_size, body_size = _HEADER.unpack(header)
    if fields_size > max_fields or body_size > _MAX_BODY:
        raise FrameInvalid(f"a frame of {fields_size} and {body_size} bytes")
    try:
        content = await reader.readexactly(fields_size)
        fields: dict[str, Any] = parse_object(content) if content else {}
        known = FrameKind(kind)
    except (NotJson, ValueError) as error:
        raise FrameInvalid("a frame cannot be read") from error
    return Frame(known, call, request, fields, await reader.readexactly(body_size))


def pointer_fields(file: FilePointer) -> list[str]:
    """Return a pointer as it is in the fields of a frame."""
    return [file.path, file.digest, file.json_pointer]


def piece_fields(piece: str | FilePointer) -> str | list[str]:
    """Return a piece of what a prompt's variable stands for as it is in the fields of a frame."""
    return piece if isinstance(piece, str) else pointer_fields(piece)


def read_piece(fields: str | list[str]) -> str | FilePointer:
    """Read what `piece_fields` has written."""
    return fields if isinstance(fields, str) else read_pointer(fields)


def read_pointer(fields: list[str]) -> FilePointer:
    """Read what `pointer_fields` has written."""
    path, digest, json_pointer = map(str, fields)
    return FilePointer(path, digest, json_pointer)
